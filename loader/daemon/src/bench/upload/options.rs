//! What `forebay bench --host-to-device` was asked for.

/// Options of `forebay bench --host-to-device`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Copies to a GPU")]
pub struct UploadArgs {
    /// Measure copies of batches from a session's slots, pinned, to a GPU's memory, in turns with plain pinned memory of the
    /// same size and with slots that are not pinned. A batch is --batch images of 224 x 224 in --dtype. GPU: cuda:0 (the
    /// default), a UUID as `nvidia-smi -L` prints it, or a PCI address.
    #[arg(long, value_name = "GPU", num_args = 0..=1, default_missing_value = "cuda:0", conflicts_with_all = OTHERS)]
    pub host_to_device: Option<String>,
}

/// Options that mean nothing here.
const OTHERS: [&str; 11] = [
    "path",
    "synthetic",
    "threads",
    "engine",
    "stage",
    "consumers",
    "emulate",
    "size_for",
    "storage",
    "html",
    "compare",
];
