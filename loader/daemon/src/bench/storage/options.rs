//! What `forebay bench --storage` was asked for.

use crate::config::Bytes;

/// Options of `forebay bench --storage`.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Measure the storage beneath PATH (any folder) by test files of our own, beside bare reads and fio. The other
    /// stages run too where --stage is given.
    #[arg(long)]
    pub storage: bool,
    /// Bytes of a read: of each small file, and of each piece of the large one.
    #[arg(long, value_name = "SIZES", default_value = "4KiB,50KiB,1MiB", value_delimiter = ',', value_parser = size,
          requires = "storage")]
    pub storage_sizes: Vec<u64>,
    /// Reads at a time.
    #[arg(long, value_name = "DEPTHS", default_value = "1,4,16,64", value_delimiter = ',', requires = "storage",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub storage_depths: Vec<u32>,
    /// All test files together; half is one large file.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", requires = "storage")]
    pub storage_bytes: Bytes,
    /// Bare reads and fio go past the page cache (O_DIRECT). Without it, files are dropped from the cache before each pass.
    #[arg(long, requires = "storage")]
    pub direct: bool,
}

/// A read is at most this long: the engine keeps one in memory for each of its threads.
const SIZE_MAX: u64 = 256 << 20;

fn size(text: &str) -> Result<u64, String> {
    let Bytes(bytes) = text.parse()?;
    if (1..=SIZE_MAX).contains(&bytes) { Ok(bytes) } else { Err("must be from 1B to 256MiB".to_owned()) }
}
