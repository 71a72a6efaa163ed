//! Where losses are asked for: a running daemon, or the ledgers that daemons have stored.

use forebay_proto::v1::{self, reply, request::Call};

use super::options::PlaceArgs;
use crate::error::Fault;
use crate::{losses, operate};

/// Asks a daemon, or adds up stored ledgers.
///
/// # Errors
/// NotFound: there is none, or no such run. Invalid: several runs, and none is named. Corrupt, naming the file.
pub(super) fn ask(place: &PlaceArgs, request: v1::LossesRequest) -> Result<v1::LossesReply, Fault> {
    let request = v1::LossesRequest { job_id: place.job.clone().unwrap_or_default(), ..request };
    if let Some(folder) = &place.ledgers {
        let book = losses::read_place(folder, &request.job_id)?;
        return book.answer(&request, |_| String::new());
    }
    match operate::connect(&place.socket)?.call(Call::Losses(request))? {
        reply::Result::Losses(reply) => Ok(reply),
        other => Err(Fault::internal(format!("losses were answered with {other:?}"))),
    }
}
