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
    fn a_sheet_and_its_rows_have_these_very_words() {
        let crop = Some(v1::Rect { left: 182, top: 57, width: 318, height: 211 });
        let image = v1::ImageReport {
            field: "image".into(),
            width: 500,
            height: 375,
            crop,
            flip: true,
            taken: crop,
            resized_width: 224,
            resized_height: 224,
            left: -1,
            top: 0,
            view: 1,
        };
        let bad =
            v1::BadSample { epoch: 3, position: 9, attempt: 0, key: "a/2.jpg".into(), reason: "cut".into() };
        let row = v1::RowReport {
            epoch: 3,
            position: 9,
            state: v1::RowState::Substituted.into(),
            valid: true,
            key: "a/1.jpg".into(),
            attempt: 1,
            images: vec![image],
            class_name: "a".into(),
            values: vec![v1::ValueReport { name: "label".into(), text: "0".into() }],
            bad: vec![bad],
            tile: Some(v1::Rect { left: 14, top: 74, width: 224, height: 224 }),
            ..Default::default()
        };
        let reply = v1::ShowReply {
            png: vec![0x89, b'P', b'N', b'G'],
            rows: vec![row],
            text: "row\n".into(),
            ..Default::default()
        };
        let reply = v1::Reply { id: 7, result: Some(v1::reply::Result::Show(reply)) };
        let golden = concat!(
            r#"{"id":"7","show":{"png":"iVBORw==","rows":[{"epoch":"3","position":"9","state":"ROW_STATE_SUBSTITUTED","#,
            r#""valid":true,"key":"a/1.jpg","attempt":1,"images":[{"field":"image","width":500,"height":375,"#,
            r#""crop":{"left":182,"top":57,"width":318,"height":211},"flip":true,"#,
            r#""taken":{"left":182,"top":57,"width":318,"height":211},"resizedWidth":224,"resizedHeight":224,"left":"-1","view":1}],"#,
            r#""className":"a","values":[{"name":"label","text":"0"}],"#,
            r#""bad":[{"epoch":"3","position":"9","key":"a/2.jpg","reason":"cut"}],"#,
            r#""tile":{"left":14,"top":74,"width":224,"height":224}}],"text":"row\n"}}"#
        );
        assert_eq!(serde_json::to_string(&reply).expect("a mapping"), golden);
        assert_eq!(serde_json::from_str::<v1::Reply>(golden).expect("its own words"), reply);
        let request = r#"{"id":"7","show":{"key":{"epoch":"3","first_row":"8","rows":4},"tile_px":64,"original":true}}"#;
        let request: v1::Request = serde_json::from_str(request).expect("what clients send");
        let Some(v1::request::Call::Show(show)) = request.call else { panic!("a show request") };
        assert_eq!((show.key.map(|key| key.first_row), show.tile_px, show.original), (Some(8), 64, true));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<v1::Request>(r#"{"id":1,"opne":{}}"#).is_err());
    }
}
