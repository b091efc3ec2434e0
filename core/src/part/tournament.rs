//! A tree of losers (Knuth, The Art of Computer Programming, volume 3, section 5.4.1): the least of many heads, found
//! again with one comparison per level when the winner's head changes.
//!
//! Always: `less` is a strict total order of the players that only the winner's change may alter between calls.

/// The players `0..n`, ranked.
#[derive(Debug)]
pub struct Tournament {
    /// At `0` the winner; at each inner node of the tree the loser of the match that was played there. The children of
    /// node `i` are `2i` and `2i + 1`; from `n` on they are the players.
    nodes: Vec<Player>,
}

/// A player, and what is known of its head without looking at it: a smaller prefix is less.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Player {
    prefix: u64,
    index: usize,
}

impl Player {
    /// `less` decides between equal prefixes.
    #[inline]
    fn beats(self, other: Self, less: &impl Fn(usize, usize) -> bool) -> bool {
        if self.prefix == other.prefix { less(self.index, other.index) } else { self.prefix < other.prefix }
    }
}

impl Tournament {
    /// Players with these prefixes.
    pub fn new(prefixes: impl Iterator<Item = u64>, less: impl Fn(usize, usize) -> bool) -> Self {
        let players: Vec<_> = prefixes.enumerate().map(|(index, prefix)| Player { prefix, index }).collect();
        let mut nodes = vec![Player::default(); players.len()];
        let mut winners = players.repeat(2);
        for node in (1..players.len()).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if b.beats(a, &less) { (b, a) } else { (a, b) };
            winners[node] = winner;
            nodes[node] = loser;
        }
        if let (Some(first), Some(winner)) = (nodes.first_mut(), winners.get(1)) {
            *first = *winner;
        }
        Self { nodes }
    }

    /// The least player; `None` if there are none.
    #[inline]
    pub fn winner(&self) -> Option<usize> {
        self.nodes.first().map(|winner| winner.index)
    }

    /// Ranks the winner again, whose head has changed and has this prefix.
    #[inline]
    pub fn replay(&mut self, prefix: u64, less: impl Fn(usize, usize) -> bool) {
        let Some(index) = self.winner() else {
            return;
        };
        let mut winner = Player { prefix, index };
        let mut node = (index + self.nodes.len()) / 2;
        while node > 0 {
            let loser = self.nodes[node];
            // Who wins is anybody's guess: two moves on a condition, not a branch.
            let beaten = loser.beats(winner, &less);
            self.nodes[node] = if beaten { winner } else { loser };
            winner = if beaten { loser } else { winner };
            node /= 2;
        }
        self.nodes[0] = winner;
    }
}
