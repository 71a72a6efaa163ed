//! `forebay dataset top`: the samples that stand out.

use forebay_proto::v1;
use serde_json::json;

use super::options::TopArgs;
use super::{place, text};
use crate::error::Fault;

/// Their figures, highest first.
pub(super) fn run(args: &TopArgs) -> Result<String, Fault> {
    let by = args.by.to_proto().into();
    let request = v1::LossesRequest { by, samples: args.count, ..Default::default() };
    let reply = place::ask(&args.place, request)?;
    if args.format.json {
        let samples: Vec<_> = reply.samples.iter().map(text::sample_json).collect();
        let whole = json!({ "about": text::about_json(&reply), "samples": samples });
        return Ok(format!("{whole:#}\n"));
    }
    if args.format.csv {
        return text::csv(&text::SAMPLE_COLUMNS, reply.samples.iter().map(text::sample_cells));
    }
    let mut out = text::about(&reply);
    if reply.samples.is_empty() {
        return Ok(out + "no sample has such a loss\n");
    }
    out += &text::samples_table(&reply.samples);
    Ok(out)
}
