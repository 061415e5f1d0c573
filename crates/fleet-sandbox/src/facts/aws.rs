//! AWS: regions, zones with their ids, GPU instance types, where they are sold and at which price.
//!
//! Shapes and zone lists follow the public catalogue of 2026; on-demand prices are those of
//! us-east-1, other regions by factor. Spot levels are plausible, not recorded: the sandbox's process
//! moves them. Zone names are as one account would see them, and differ from ids as they do in life.

use crate::text::fraction;
use fleet_types::Usd;

/// A region: name, price factor, zones as (letter, zone id).
pub(crate) struct Region {
    pub(crate) name: &'static str,
    factor: f64,
    zones: &'static [(char, &'static str)],
}

/// A zone of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) region: &'static str,
    pub(crate) letter: char,
    pub(crate) id: &'static str,
}

impl Zone {
    /// `us-east-1a`.
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.region, self.letter)
    }
}

pub(crate) const REGIONS: &[Region] = &[
    Region {
        name: "us-east-1",
        factor: 1.0,
        zones: &[
            ('a', "use1-az6"),
            ('b', "use1-az1"),
            ('c', "use1-az2"),
            ('d', "use1-az4"),
            ('e', "use1-az3"),
            ('f', "use1-az5"),
        ],
    },
    Region {
        name: "us-east-2",
        factor: 1.0,
        zones: &[('a', "use2-az1"), ('b', "use2-az2"), ('c', "use2-az3")],
    },
    Region {
        name: "us-west-2",
        factor: 1.0,
        zones: &[('a', "usw2-az2"), ('b', "usw2-az1"), ('c', "usw2-az3"), ('d', "usw2-az4")],
    },
    Region {
        name: "ca-central-1",
        factor: 1.11,
        zones: &[('a', "cac1-az1"), ('b', "cac1-az2"), ('d', "cac1-az4")],
    },
    Region {
        name: "eu-west-1",
        factor: 1.115,
        zones: &[('a', "euw1-az3"), ('b', "euw1-az1"), ('c', "euw1-az2")],
    },
    Region {
        name: "eu-central-1",
        factor: 1.25,
        zones: &[('a', "euc1-az1"), ('b', "euc1-az2"), ('c', "euc1-az3")],
    },
    Region {
        name: "eu-north-1",
        factor: 1.06,
        zones: &[('a', "eun1-az1"), ('b', "eun1-az2"), ('c', "eun1-az3")],
    },
    Region {
        name: "ap-northeast-1",
        factor: 1.35,
        zones: &[('a', "apne1-az4"), ('c', "apne1-az1"), ('d', "apne1-az2")],
    },
    Region {
        name: "ap-southeast-2",
        factor: 1.3,
        zones: &[('a', "apse2-az1"), ('b', "apse2-az3"), ('c', "apse2-az2")],
    },
    Region {
        name: "ap-south-1",
        factor: 1.1,
        zones: &[('a', "aps1-az1"), ('b', "aps1-az3"), ('c', "aps1-az2")],
    },
];

impl Region {
    pub(crate) fn zones(&self) -> impl Iterator<Item = Zone> + Clone + use<'_> {
        self.zones.iter().map(|(letter, id)| Zone { region: self.name, letter: *letter, id })
    }
}

/// The region of that name.
pub(crate) fn region(name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|r| r.name == name)
}

/// The zone of that name (`us-east-1a`).
pub(crate) fn zone(name: &str) -> Option<Zone> {
    REGIONS.iter().flat_map(Region::zones).find(|z| z.name() == name)
}

/// A GPU instance type.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) vcpus: u32,
    pub(crate) memory_mib: u32,
    /// As fleet spells it.
    pub(crate) gpu: &'static str,
    /// As EC2 spells it in GpuInfo.
    pub(crate) gpu_wire: &'static str,
    pub(crate) gpus: u32,
    pub(crate) gpu_mib: u32,
    pub(crate) nvme_gb: u32,
    pub(crate) arm: bool,
    /// On demand in us-east-1, dollars an hour.
    on_demand: f64,
    /// Spot price as a share of on-demand.
    spot_share: f64,
    /// Where it is sold: `region:letters`.
    sold: &'static str,
}

const G4: &str = "us-east-1:abcdf us-east-2:abc us-west-2:abc ca-central-1:ab eu-west-1:abc \
    eu-central-1:abc eu-north-1:abc ap-northeast-1:acd ap-southeast-2:abc ap-south-1:abc";
const G5: &str = "us-east-1:abcdf us-east-2:abc us-west-2:abc ca-central-1:ab eu-west-1:abc \
    eu-central-1:abc eu-north-1:bc ap-northeast-1:ac ap-southeast-2:bc ap-south-1:ab";
const G6: &str = "us-east-1:abcdf us-east-2:abc us-west-2:abcd ca-central-1:abd eu-central-1:abc \
    eu-north-1:ab ap-northeast-1:ac ap-southeast-2:abc ap-south-1:ab";
const G6E: &str = "us-east-1:abcd us-east-2:abc us-west-2:abcd eu-central-1:abc eu-north-1:ab \
    ap-northeast-1:ac ap-south-1:ab";
const P3: &str = "us-east-1:abcdf us-east-2:abc us-west-2:abc ca-central-1:ab eu-west-1:abc \
    eu-central-1:ab ap-northeast-1:ac ap-southeast-2:ab";
const P4D: &str = "us-east-1:abcd us-east-2:abc us-west-2:abcd ca-central-1:ab eu-west-1:c \
    eu-central-1:abc eu-north-1:c ap-northeast-1:ac ap-southeast-2:bc ap-south-1:abc";
const P4DE: &str = "us-east-1:bc us-west-2:abc eu-central-1:ac ap-northeast-1:ac";
const P5: &str = "us-east-1:abcdef us-east-2:abc us-west-2:abcd ca-central-1:d eu-north-1:abc \
    ap-northeast-1:ac ap-southeast-2:abc ap-south-1:abc";
const P5EN: &str =
    "us-east-1:ac us-east-2:abc us-west-2:acd eu-north-1:ac ap-northeast-1:a ap-south-1:ab";
const P6: &str = "us-east-1:c us-east-2:abc us-west-2:abd eu-north-1:b ap-south-1:c";

#[rustfmt::skip]
#[expect(clippy::too_many_arguments, reason = "one row of the table below, in the order of its columns")]
const fn row(
    name: &'static str, vcpus: u32, memory_gib: u32, gpus: u32, gpu: &'static str,
    gpu_wire: &'static str, gpu_mib: u32, nvme_gb: u32, on_demand: f64, spot_share: f64,
    sold: &'static str,
) -> Type {
    let memory_mib = memory_gib * 1024;
    let arm = matches!(name.as_bytes(), [b'g', b'5', b'g', ..]);
    Type { name, vcpus, memory_mib, gpu, gpu_wire, gpus, gpu_mib, nvme_gb, arm, on_demand, spot_share, sold }
}

#[rustfmt::skip]
pub(crate) const TYPES: &[Type] = &[
    row("g4dn.xlarge",       4,   16, 1, "T4",        "T4",    16384,   125,   0.526,    0.30, G4),
    row("g4dn.2xlarge",      8,   32, 1, "T4",        "T4",    16384,   225,   0.752,    0.31, G4),
    row("g4dn.12xlarge",    48,  192, 4, "T4",        "T4",    16384,   900,   3.912,    0.29, G4),
    row("g4dn.metal",       96,  384, 8, "T4",        "T4",    16384,  1800,   7.824,    0.29, G4),
    row("g5g.xlarge",        4,    8, 1, "T4g",       "T4g",   16384,     0,   0.42,     0.40, "us-east-1:abcd us-west-2:abc eu-central-1:c ap-northeast-1:cd"),
    row("g5.xlarge",         4,   16, 1, "A10G",      "A10G",  22888,   250,   1.006,    0.38, G5),
    row("g5.12xlarge",      48,  192, 4, "A10G",      "A10G",  22888,  3800,   5.672,    0.36, G5),
    row("g5.48xlarge",     192,  768, 8, "A10G",      "A10G",  22888,  7600,  16.288,    0.33, G5),
    row("g6.xlarge",         4,   16, 1, "L4",        "L4",    22888,   250,   0.8048,   0.33, G6),
    row("g6.12xlarge",      48,  192, 4, "L4",        "L4",    22888,  3760,   4.6016,   0.32, G6),
    row("g6.48xlarge",     192,  768, 8, "L4",        "L4",    22888,  7520,  13.3504,   0.30, G6),
    row("g6e.xlarge",        4,   32, 1, "L40S",      "L40S",  45776,   250,   1.861,    0.31, G6E),
    row("g6e.12xlarge",     48,  384, 4, "L40S",      "L40S",  45776,  3800,  10.49264,  0.29, G6E),
    row("g6e.48xlarge",    192, 1536, 8, "L40S",      "L40S",  45776,  7600,  30.13118,  0.28, G6E),
    row("p2.xlarge",         4,   61, 1, "K80",       "K80",   12288,     0,   0.90,     0.30, P3),
    row("p3.2xlarge",        8,   61, 1, "V100",      "V100",  16384,     0,   3.06,     0.30, P3),
    row("p3.8xlarge",       32,  244, 4, "V100",      "V100",  16384,     0,  12.24,     0.30, P3),
    row("p3.16xlarge",      64,  488, 8, "V100",      "V100",  16384,     0,  24.48,     0.29, P3),
    row("p4d.24xlarge",     96, 1152, 8, "A100",      "A100",  40960,  8000,  21.957642, 0.30, P4D),
    row("p4de.24xlarge",    96, 1152, 8, "A100-80GB", "A100",  81920,  8000,  27.44705,  0.32, P4DE),
    row("p5.4xlarge",       16,  256, 1, "H100",      "H100",  81920,  3800,   6.88,     0.27, P5),
    row("p5.48xlarge",     192, 2048, 8, "H100",      "H100",  81920, 30400,  55.04,     0.26, P5),
    row("p5en.48xlarge",   192, 2048, 8, "H200",      "H200", 144384, 30400,  63.296,    0.30, P5EN),
    row("p6-b200.48xlarge",192, 2048, 8, "B200",      "B200", 183359, 30400, 113.9328,   0.30, P6),
];

/// The type of that name.
pub(crate) fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|t| t.name == name)
}

impl Type {
    /// The zones where it is sold, in the order of the regions' table.
    pub(crate) fn zones(&self) -> Vec<Zone> {
        let sold: Vec<(&str, &str)> =
            self.sold.split_whitespace().filter_map(|s| s.split_once(':')).collect();
        let here = |z: &Zone| sold.iter().any(|(r, zs)| *r == z.region && zs.contains(z.letter));
        REGIONS.iter().flat_map(Region::zones).filter(here).collect()
    }

    /// Whether it is sold in that zone.
    pub(crate) fn sold_in(&self, zone: Zone) -> bool {
        self.zones().contains(&zone)
    }

    /// On-demand price in a region.
    pub(crate) fn on_demand(&self, region: &str) -> Usd {
        let factor = self::region(region).map_or(1.0, |r| r.factor);
        Usd::from_dollars(self.on_demand * factor).unwrap_or_default()
    }

    /// The level around which the spot price of a zone moves: regions and zones differ by up to 9 %.
    pub(crate) fn spot_level(&self, zone: Zone, seed: u64) -> Usd {
        let factor = self::region(zone.region).map_or(1.0, |r| r.factor);
        let spread = 0.94 + 0.18 * fraction(seed, &["spot-level", self.name, zone.id]);
        let dollars = self.on_demand * self.spot_share * spread * (0.5 + 0.5 * factor);
        Usd::from_dollars(dollars).unwrap_or_default()
    }

    /// Interruption class of the advisor, 0 (below 5 % a month) to 4 (above 20 %).
    pub(crate) fn advisor_class(&self, region: &str) -> u8 {
        let scarce = if self.gpus == 8 { 0.45 } else { 0.2 };
        let draw = fraction(0, &["advisor", self.name, region]);
        ((draw + scarce - 0.3).max(0.0) * 4.5) as u8
    }

    /// Whether it is the zone of a region in which the calm sandbox never sells out.
    pub(crate) fn is_anchor(&self, zone: Zone) -> bool {
        self.zones().into_iter().find(|z| z.region == zone.region) == Some(zone)
    }
}
