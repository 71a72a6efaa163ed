//! Every message of the service `forebay/v1`, generated from `proto/forebay/v1`, and nothing else.
//!
//! The types carry two encodings: protobuf for gRPC, and the proto's JSON mapping (through serde)
//! for the control messages of the local socket, see `docs/wire.md`.

/// The generated messages, client and server.
pub mod v1 {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::pedantic,
        clippy::all,
        reason = "generated code; the proto files hold the documentation"
    )]
    tonic::include_proto!("forebay.v1");
    include!(concat!(env!("OUT_DIR"), "/forebay.v1.serde.rs"));
}

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn a_request_survives_the_json_mapping() {
        let text = r#"{"id":"7","open":{"rows":256,"cursor":{"epoch":1,"position":"9"},"tail":"TAIL_DROP"}}"#;
        let request: v1::Request = serde_json::from_str(text).expect("the mapping reads its own words");
        let back = serde_json::to_string(&request).expect("every message has a mapping");
        assert_eq!(request, serde_json::from_str(&back).expect("round trip"));
        let Some(v1::request::Call::Open(open)) = request.call else { panic!("an open request: {back}") };
        assert_eq!((open.rows, open.tail()), (256, v1::Tail::Drop));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<v1::Request>(r#"{"id":1,"opne":{}}"#).is_err());
    }
}
