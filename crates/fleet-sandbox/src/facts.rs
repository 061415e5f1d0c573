//! What the clouds sell: compact tables of plausible facts, one module a cloud.
//!
//! Invariant: for every GPU count that AWS and another cloud sell, the cheapest AWS spot place is cheaper
//! than anything of the other (a test holds it), so that the cloud that gives a notice is tried first.

pub(crate) mod aws;
pub(crate) mod lambda;
pub(crate) mod vast;

#[cfg(test)]
mod tests {
    use super::{aws, lambda, vast};

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

    /// GPU, number and dollars an hour of everything that the other clouds sell, at its cheapest.
    fn others(seed: u64) -> Vec<(&'static str, u32, f64)> {
        let vast = vast::machines(seed);
        let vast = vast.iter().map(|m| (m.gpu.name, m.num_gpus, m.min_bid.dollars()));
        let lambda = lambda::TYPES.iter().map(|t| (t.gpu, t.gpus, f64::from(t.cents) / 100.0));
        vast.chain(lambda).collect()
    }

    #[test]
    fn where_aws_and_another_sell_a_gpu_aws_spot_is_cheapest_by_a_tenth() {
        let mut shared = std::collections::BTreeSet::new();
        for seed in 0..50 {
            for (gpu, n, dollars) in others(seed) {
                let rival = aws::TYPES
                    .iter()
                    .filter(|t| t.gpu == gpu && t.gpus == n)
                    .flat_map(|t| t.zones().into_iter().map(|z| t.spot_level(z, seed).dollars()))
                    .fold(f64::INFINITY, f64::min);
                if rival.is_finite() {
                    shared.insert((gpu, n));
                    assert!(rival * 1.1 < dollars, "{gpu} x{n}: aws {rival}, other {dollars}");
                }
            }
        }
        assert!(shared.len() >= 8, "{shared:?}");
    }

    #[test]
    fn lambda_is_as_wide_as_promised_and_has_three_sure_regions_of_each_type() {
        let gpus: std::collections::BTreeSet<_> =
            lambda::TYPES.iter().filter(|t| t.gpus > 0).map(|t| t.gpu).collect();
        assert!(gpus.len() >= 6 && lambda::REGIONS.len() >= 5, "{gpus:?}");
        for t in lambda::TYPES {
            let sure: std::collections::BTreeSet<_> =
                t.regions().filter(|(_, anchor)| *anchor).map(|(r, _)| r.name).collect();
            assert_eq!(sure.len(), 3, "{}", t.name);
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
