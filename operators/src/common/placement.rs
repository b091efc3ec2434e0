//! Which worker leads.

/// The worker that leads the operators at this address: it follows a shard, say, and hands out its parts.
///
/// All workers build the same operators in the same order, so they agree on an address whatever they were asked for. It is
/// mixed well (splitmix64), so that many sources spread over the workers, and in a way that never changes, so that all
/// processes of a cluster agree whatever they were built with.
pub(crate) fn leader(address: &[usize], workers: usize) -> usize {
    let hash = address.iter().fold(0, |hash: u64, index| mix(hash ^ *index as u64));
    (hash % workers.max(1) as u64) as usize
}

fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_spread_over_the_workers() {
        for workers in [1, 2, 3, 4, 8, 16] {
            // One dataflow of many sources, or many dataflows of one, with any number of operators between them.
            for stride in 1..20 {
                for address in [|n: usize| [0, n], |n: usize| [n, 3]] {
                    let mut led = vec![0; workers];
                    (0..64 * workers).for_each(|n| led[leader(&address(n * stride), workers)] += 1);
                    assert!(led.iter().all(|led| (24..128).contains(led)), "{led:?}, stride {stride}");
                }
            }
        }
    }

    #[test]
    fn the_leader_at_an_address_never_changes() {
        let leaders: Vec<_> = (0..10).map(|index| leader(&[0, index], 5)).collect();
        assert_eq!(leaders, [0, 0, 2, 4, 1, 4, 0, 4, 3, 2]);
    }
}
