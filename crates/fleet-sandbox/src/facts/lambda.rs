//! Lambda: regions, instance types, where they are sold and at which price.
//!
//! Names, shapes and prices follow the public list of 2026; a price is the same in every region. Where a type
//! is sold is plausible, not recorded. The first three regions of a type never sell out by themselves.

/// A region as the API names and describes it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
}

const fn region(name: &'static str, description: &'static str) -> Region {
    Region { name, description }
}

pub(crate) const REGIONS: &[Region] = &[
    region("us-west-1", "California, USA"),
    region("us-west-2", "Arizona, USA"),
    region("us-west-3", "Utah, USA"),
    region("us-south-1", "Texas, USA"),
    region("us-south-2", "North Texas, USA"),
    region("us-south-3", "Central Texas, USA"),
    region("us-midwest-1", "Illinois, USA"),
    region("us-east-1", "Virginia, USA"),
    region("us-east-2", "Washington DC, USA"),
    region("us-east-3", "Washington DC, USA"),
    region("europe-central-1", "Germany"),
    region("me-west-1", "Israel"),
    region("asia-south-1", "India"),
    region("asia-northeast-1", "Osaka, Japan"),
    region("asia-northeast-2", "Tokyo, Japan"),
    region("australia-east-1", "Australia"),
];

/// An instance type.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) gpus: u32,
    /// As fleet spells it.
    pub(crate) gpu: &'static str,
    /// As the API describes it.
    pub(crate) gpu_wire: &'static str,
    pub(crate) vcpus: u32,
    pub(crate) memory_gib: u32,
    pub(crate) storage_gib: u32,
    /// The whole machine, cents an hour.
    pub(crate) cents: u32,
    /// Regions where it is sold, as places in the table of regions.
    sold: &'static [usize],
}

#[rustfmt::skip]
#[expect(clippy::too_many_arguments, reason = "one row of the table below, in the order of its columns")]
const fn row(
    name: &'static str, gpus: u32, gpu: &'static str, gpu_wire: &'static str, vcpus: u32,
    memory_gib: u32, storage_gib: u32, cents: u32, sold: &'static [usize],
) -> Type {
    Type { name, gpus, gpu, gpu_wire, vcpus, memory_gib, storage_gib, cents, sold }
}

#[rustfmt::skip]
pub(crate) const TYPES: &[Type] = &[
    row("cpu_4x_general",        0, "",          "N/A",                      4,   16,   100,   20, &[0, 7, 10, 3, 12, 13]),
    row("gpu_1x_a10",            1, "A10",       "A10 (24 GB PCIe)",        30,  200,  1400,  129, &[0, 7, 10, 3, 12, 6, 15]),
    row("gpu_1x_rtx6000",        1, "RTX6000",   "Quadro RTX 6000 (24 GB)", 14,   46,   512,   69, &[0, 3, 8, 6, 10]),
    row("gpu_1x_a6000",          1, "A6000",     "RTX A6000 (48 GB)",       14,  100,   200,  109, &[3, 4, 0, 6, 11]),
    row("gpu_2x_a6000",          2, "A6000",     "RTX A6000 (48 GB)",       28,  200,  1024,  218, &[3, 4, 0, 6]),
    row("gpu_4x_a6000",          4, "A6000",     "RTX A6000 (48 GB)",       56,  400,  1024,  436, &[3, 4, 0]),
    row("gpu_1x_a100_sxm4",      1, "A100",      "A100 (40 GB SXM4)",       30,  200,   512,  199, &[7, 1, 12, 13, 8]),
    row("gpu_8x_a100",           8, "A100",      "A100 (40 GB SXM4)",      124, 1800,  6144, 1592, &[7, 1, 13, 12]),
    row("gpu_8x_a100_80gb_sxm4", 8, "A100-80GB", "A100 (80 GB SXM4)",      240, 1800, 20480, 2232, &[6, 8, 14, 1]),
    row("gpu_1x_h100_pcie",      1, "H100-PCIE", "H100 (80 GB PCIe)",       26,  200,  1024,  329, &[2, 9, 10, 3]),
    row("gpu_1x_h100_sxm5",      1, "H100",      "H100 (80 GB SXM5)",       26,  225,  2816,  429, &[4, 8, 2, 5, 15]),
    row("gpu_2x_h100_sxm5",      2, "H100",      "H100 (80 GB SXM5)",       52,  450,  5632,  838, &[4, 8, 2, 5]),
    row("gpu_4x_h100_sxm5",      4, "H100",      "H100 (80 GB SXM5)",      104,  900, 11264, 1636, &[4, 8, 2]),
    row("gpu_8x_h100_sxm5",      8, "H100",      "H100 (80 GB SXM5)",      208, 1800, 22528, 3192, &[4, 8, 2, 5, 9]),
    row("gpu_1x_gh200",          1, "GH200",     "GH200 (96 GB)",           64,  432,  4096,  229, &[9, 8, 2]),
    row("gpu_1x_b200_sxm6",      1, "B200",      "B200 (180 GB SXM6)",      26,  360,  2816,  699, &[5, 8, 2]),
    row("gpu_8x_b200_sxm6",      8, "B200",      "B200 (180 GB SXM6)",     208, 2900, 22528, 5352, &[5, 8, 2]),
];

/// The region of that name.
pub(crate) fn find_region(name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|r| r.name == name)
}

/// The type of that name.
pub(crate) fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|t| t.name == name)
}

impl Type {
    /// Where it is sold; the first three are the calm sandbox's anchors.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (&'static Region, bool)> {
        self.sold.iter().enumerate().filter_map(|(i, at)| Some((REGIONS.get(*at)?, i < 3)))
    }
}
