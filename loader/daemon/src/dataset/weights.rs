//! `forebay dataset weights`: one weight a sample, as a NumPy file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use forebay_plan::DigestBuilder;
use forebay_proto::v1;

use super::options::WeightsArgs;
use super::{place, text};
use crate::error::Fault;
use crate::losses::WeightOptions;

/// Writes the file and says what is in it.
pub(super) fn run(args: &WeightsArgs) -> Result<String, Fault> {
    if args.output.extension().is_none_or(|extension| extension != "npy") {
        let message = format!("write {}: it is no .npy file", args.output.display());
        return Err(Fault::invalid(message).hint("numpy.load() reads .npy; name the file so"));
    }
    let options = WeightOptions {
        source: args.source.clone().unwrap_or_default(),
        by: args.by.into(),
        temperature: args.temperature,
        least: args.clip.least,
        most: args.clip.most,
    };
    options.check()?;
    let request = v1::LossesRequest { weights: Some(options.to_proto()), ..Default::default() };
    let reply = place::ask(&args.place, request)?;
    write(&args.output, &npy(&reply.weights), args.force).map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        Fault::from_error(crate::error::Kind::Invalid, &error)
            .context(format!("write {}", args.output.display()))
            .maybe_hint(exists.then(|| "--force writes over it".to_owned()))
    })?;
    Ok(text::about(&reply) + &summary(&args.output, &reply.weights))
}

fn summary(output: &Path, bytes: &[u8]) -> String {
    let weights: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let (least, most) = weights.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), weight| {
        (least.min(*weight), most.max(*weight))
    });
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let digest = DigestBuilder::new("loss weights").field("weights", bytes).finish();
    format!(
        "{}: {} weights from {least:.3} to {most:.3}, mean {mean:.3}; digest {}\n",
        output.display(),
        text::grouped(weights.len() as u64),
        digest.short()
    )
}

/// A NumPy file of version 1.0 with one dimension of float64.
///
/// Source: `numpy/lib/format.py`: the header is padded with spaces so that the data begins at a multiple of 64.
fn npy(values: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}", values.len() / 8);
    let before = 10;
    let padding = 64 - (before + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', padding % 64));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(values);
    out
}

/// Writes it beside and moves it there, so that no half of a file is ever read as weights.
fn write(path: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    if !force && path.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists"));
    }
    let part = path.with_extension(format!("npy.{}.part", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&part, path));
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numpy_file_begins_with_its_shape_and_its_data_is_aligned() {
        for count in [1, 10, 1_281_167] {
            let file = npy(&vec![0; 8 * count]);
            let header_bytes = u16::from_le_bytes([file[8], file[9]]) as usize;
            assert_eq!((10 + header_bytes) % 64, 0);
            assert_eq!((file[10 + header_bytes - 1], file.len()), (b'\n', 10 + header_bytes + 8 * count));
            let header = String::from_utf8_lossy(&file[10..10 + header_bytes]).into_owned();
            assert!(header.contains(&format!("'shape': ({count},)")), "{header}");
        }
    }
}
