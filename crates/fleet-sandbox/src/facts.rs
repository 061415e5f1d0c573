//! What the clouds sell: compact tables of plausible facts, one module a cloud.
//!
//! Invariant: for every GPU count that both clouds sell, the cheapest AWS spot place is cheaper than
//! any Vast machine (a test holds it), so that the cloud that gives a notice is tried first.

pub(crate) mod aws;
pub(crate) mod vast;

#[cfg(test)]
mod tests {
    use super::{aws, vast};

    #[test]
    fn the_tables_are_as_wide_as_promised() {
        let regions: std::collections::BTreeSet<_> =
            aws::TYPES.iter().flat_map(|t| t.zones()).map(|z| z.region).collect();
        let gpus: std::collections::BTreeSet<_> = aws::TYPES.iter().map(|t| t.gpu).collect();
        assert!(regions.len() >= 8 && gpus.len() >= 12, "{regions:?} {gpus:?}");
        for seed in 0..20 {
            assert!(vast::machines(seed).len() >= 60);
        }
    }

    #[test]
    fn where_both_clouds_sell_a_gpu_aws_spot_is_cheapest_by_a_tenth() {
        for seed in 0..50 {
            for m in vast::machines(seed) {
                let rival = aws::TYPES
                    .iter()
                    .filter(|t| t.gpu == m.gpu.name && t.gpus == m.num_gpus)
                    .flat_map(|t| t.zones().into_iter().map(|z| t.spot_level(z, seed).dollars()))
                    .fold(f64::INFINITY, f64::min);
                if rival.is_finite() {
                    let (x, n) = (m.min_bid.dollars(), m.num_gpus);
                    assert!(rival * 1.1 < x, "{} x{n}: aws {rival}, vast {x}", m.gpu.name);
                }
            }
        }
    }

    #[test]
    fn t4_is_sold_in_many_places_of_both() {
        let t4 = aws::TYPES.iter().find(|t| t.name == "g4dn.xlarge").unwrap();
        assert!(t4.zones().len() >= 20);
        for seed in 0..50 {
            let good = vast::machines(seed)
                .into_iter()
                .filter(|m| {
                    m.gpu.name == "T4" && m.num_gpus == 1 && m.verified && m.reliability > 0.98
                })
                .count();
            assert!(good >= 4, "seed {seed}: {good}");
        }
    }
}
