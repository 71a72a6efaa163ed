//! The names of a job: what its content is called.

use forebay_plan::{Digest, DigestBuilder};
use forebay_proto::v1;
use prost::Message as _;

use super::spec::BadSample;

/// Names the arithmetic behind every float that we deliver: integer resize, then one table a channel, made with
/// separate IEEE single operations in torchvision's order. Changed whenever a bit of any output may change.
pub const NUMERICS_ID: &str = "u8-resize-fir6/table-f32-1";

/// Names what the bytes of a row are, given its sample: fields with every default filled in, the policy, the numerics.
///
/// The policy's budget is left out: it can only turn delivery into an error. So are paths: data that is mounted
/// elsewhere is the same data, and its names and labels are in the snapshot.
pub fn content_digest(fields: &[v1::Field], bad_sample: &BadSample) -> Digest {
    let start = DigestBuilder::new("content")
        .field("numerics", NUMERICS_ID.as_bytes())
        .field("policy", bad_sample.policy.as_str().as_bytes());
    fields.iter().fold(start, |builder, field| builder.field("field", &field.encode_to_vec())).finish()
}
