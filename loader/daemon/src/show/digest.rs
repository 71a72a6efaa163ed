//! `forebay show --digest`: what the rows of an epoch add up to, computed anew.

use forebay_plan::RowSum;
use forebay_proto::v1;
use serde::Serialize;

use super::options::ShowArgs;
use super::side::Side;
use super::{json, print};
use crate::error::Fault;
use crate::progress::Bar;

/// As `loader.digest()` has it, and what it is of.
#[derive(Serialize)]
struct Report<'a> {
    job_id: &'a str,
    epoch: u64,
    epoch_rows: u64,
    from_row: u64,
    to_row: u64,
    rows: u64,
    order: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// Asks for the sums piece by piece, and prints them.
pub(super) fn run(side: &mut Side, args: &ShowArgs, job: &v1::Job) -> Result<(), Fault> {
    let (epoch, content) = (args.which.epoch, args.digest.content);
    let (first_row, end) = (args.digest.from_row, args.digest.to_row.unwrap_or(0));
    let reference =
        v1::JobRef { order_digest: job.order_digest.clone(), content_digest: job.content_digest.clone() };
    let mut bar = Bar::new(if content { "making" } else { "planning" }, "rows");
    let (mut rows, mut order, mut sum, mut from_row) = (0, RowSum::default(), RowSum::default(), first_row);
    let (epoch_rows, to_row) = loop {
        let request =
            v1::DigestRequest { job: Some(reference.clone()), epoch, from_row, to_row: end, content };
        let reply = side.digest(request)?;
        rows += reply.rows;
        order.add(parsed(&reply.order)?);
        if content {
            sum.add(parsed(&reply.content)?);
        }
        let to_row = if end == 0 { reply.epoch_rows } else { end };
        bar.show(reply.to_row - first_row, to_row - first_row);
        from_row = reply.to_row;
        if from_row >= to_row {
            break (reply.epoch_rows, to_row);
        }
    };
    bar.clear();
    let (order, content) = (order.to_string(), content.then(|| sum.to_string()));
    let job_id = &job.job_id;
    let report = Report { job_id, epoch, epoch_rows, from_row: first_row, to_row, rows, order, content };
    print(&if args.json { json(&report) } else { text(&report) }, "the digests")
}

fn parsed(digits: &str) -> Result<[u8; 32], Fault> {
    let sum = digits.parse::<RowSum>();
    sum.map(RowSum::to_bytes).map_err(|error| Fault::internal(format!("a digest of the daemon: {error}")))
}

fn text(report: &Report<'_>) -> String {
    let Report { job_id, epoch, epoch_rows, from_row, to_row, order, content, .. } = report;
    let which = match (*from_row, to_row == epoch_rows) {
        (0, true) => format!("all {epoch_rows} rows"),
        (from_row, _) => format!("rows {from_row} to {} of {epoch_rows}", to_row - 1),
    };
    let content = content.as_ref().map_or_else(String::new, |content| format!("content  {content}\n"));
    format!("job {job_id} · epoch {epoch} · {which}\norder    {order}\n{content}")
}
