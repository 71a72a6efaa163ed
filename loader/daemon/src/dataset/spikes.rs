//! `forebay dataset spikes`: the steps that stood out.

use forebay_proto::v1;
use serde_json::json;

use super::options::SpikesArgs;
use super::{place, text};
use crate::error::Fault;

/// The steps, those with losses that are no finite number first.
pub(super) fn run(args: &SpikesArgs) -> Result<String, Fault> {
    let request = v1::LossesRequest { steps: args.count, ..Default::default() };
    let reply = place::ask(&args.place, request)?;
    if args.format.json {
        let steps: Vec<_> = reply.steps.iter().map(text::step_json).collect();
        let whole = json!({ "about": text::about_json(&reply), "steps": steps });
        return Ok(format!("{whole:#}\n"));
    }
    if args.format.csv {
        return text::csv(&text::STEP_COLUMNS, reply.steps.iter().flat_map(text::step_cells));
    }
    let mut out = text::about(&reply);
    if reply.steps.is_empty() {
        return Ok(out + "no step stood out\n");
    }
    reply.steps.iter().for_each(|step| out += &text::step(step));
    Ok(out)
}
