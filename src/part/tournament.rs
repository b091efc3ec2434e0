//! A tree of losers (Knuth, The Art of Computer Programming, volume 3, section 5.4.1): the least of many heads, found
//! again with one comparison per level when the winner's head changes.
//!
//! Always: `less` is a strict total order of the players that only the winner's change may alter between calls.

/// The players `0..n`, ranked.
#[derive(Debug)]
pub(super) struct Tournament {
    /// At `0` the winner; at each inner node of the tree the loser of the match that was played there. The children of
    /// node `i` are `2i` and `2i + 1`; from `n` on they are the players.
    nodes: Vec<usize>,
}

impl Tournament {
    pub(super) fn new(players: usize, less: impl Fn(usize, usize) -> bool) -> Self {
        let mut nodes = vec![0; players];
        let mut winners: Vec<usize> = (0..players).chain(0..players).collect();
        for node in (1..players).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if less(b, a) { (b, a) } else { (a, b) };
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
    pub(super) fn winner(&self) -> Option<usize> {
        self.nodes.first().copied()
    }

    /// Ranks the winner again, whose head has changed.
    #[inline]
    pub(super) fn replay(&mut self, less: impl Fn(usize, usize) -> bool) {
        let Some(mut winner) = self.winner() else {
            return;
        };
        let mut node = (winner + self.nodes.len()) / 2;
        while node > 0 {
            if less(self.nodes[node], winner) {
                std::mem::swap(&mut self.nodes[node], &mut winner);
            }
            node /= 2;
        }
        self.nodes[0] = winner;
    }
}
