use super::*;

#[test]
fn csv_columns_get_the_kinds_a_person_expects() {
    let text = "\u{feff}image, label ,score,caption\na.jpg,1,0.5,\"a dog, asleep\"\n\"b b.jpg\", 2 ,3,\n";
    let snapshot = open_list("list.csv", text, &[]).unwrap();
    let expected = [
        ("image", ColumnKind::Path),
        ("label", ColumnKind::Int),
        ("score", ColumnKind::Float),
        ("caption", ColumnKind::Text),
    ];
    assert_eq!(kinds(&snapshot), expected);
    assert_eq!(paths(&snapshot, "image"), ["a.jpg", "b b.jpg"]);
    assert_eq!(snapshot.column("label").unwrap().int(1), 2);
    assert_eq!(snapshot.column("score").unwrap().float(0).to_bits(), 0.5_f32.to_bits());
    let caption = snapshot.column("caption").unwrap();
    assert_eq!((caption.text(0), caption.text(1), caption.text_bytes_max()), ("a dog, asleep", "", 13));
}

#[test]
fn json_records_get_the_kinds_of_their_values() {
    let lines = r#"{"path": "a", "n": 1, "x": 1, "ok": true, "v": [1, 2.5], "t": "ä\n"}
                   {"path": "b", "n": -1, "x": 0.5, "ok": false, "v": [3, 4], "t": ""}"#;
    let snapshot = open_records(lines, Some("/")).unwrap();
    let expected = [
        ("path", ColumnKind::Path),
        ("n", ColumnKind::Int),
        ("x", ColumnKind::Float),
        ("ok", ColumnKind::Int),
        ("v", ColumnKind::FloatVector { len: Some(2) }),
        ("t", ColumnKind::Text),
    ];
    assert_eq!(kinds(&snapshot), expected);
    assert_eq!(snapshot.column("v").unwrap().vector(1), [3.0, 4.0]);
    assert_eq!(snapshot.column("ok").unwrap().int(0), 1);
    assert_eq!(snapshot.column("t").unwrap().text(0), "ä\n");
}

#[test]
fn named_columns_are_loaded_in_the_order_and_kind_named() {
    let columns = [
        spec("tags", ColumnKind::MultiHot { classes: 5 }),
        spec("v", ColumnKind::FloatVector { len: Some(2) }),
        spec("w", ColumnKind::Weight),
    ];
    let snapshot = open_list("l.csv", "w,unused,v,tags\n1,?,[1 2],0|3\n0,?,\"3,4\",\n", &columns).unwrap();
    assert_eq!(snapshot.columns().iter().map(Column::name).collect::<Vec<_>>(), ["tags", "v", "w"]);
    let tags = snapshot.column("tags").unwrap();
    let mut hot = [9; 5];
    tags.multi_hot(0, &mut hot);
    assert_eq!((hot, tags.classes(1)), ([1, 0, 0, 1, 0], &[][..]));
    assert_eq!(snapshot.column("v").unwrap().vector(1), [3.0, 4.0]);
    let json =
        "{\"tags\": [4], \"v\": [1, 2], \"w\": 2, \"more\": {}}\n{\"tags\": 1, \"v\": [1, 2], \"w\": 2}";
    let snapshot = open_list("l.jsonl", json, &columns).unwrap();
    assert_eq!(snapshot.column("tags").unwrap().classes(1), [1]);
}

#[test]
fn absolute_paths_inside_the_root_become_relative() {
    let snapshot = open_records("{\"path\": \"/tmp/a\"}\n{\"path\": \"b\"}", Some("/tmp")).unwrap();
    assert_eq!(paths(&snapshot, "path"), ["a", "b"]);
}

#[test]
fn a_wrong_value_is_named_with_line_and_column() {
    use ColumnKind::{Float, FloatVector, Int, MultiHot, Path, Text, Weight};
    let wrong = |kind, rows: &str, says: &str| {
        let says = format!("l.csv line 3, column x: {says}");
        assert_says(open_list("l.csv", format!("x,y\n{rows}\n"), &[spec("x", kind)]), &says);
    };
    wrong(Int, "1,\n,2", "the value is missing");
    wrong(Int, "1,\none,2", "expected an integer, found \"one\"");
    wrong(Int, "1,\n99999999999999999999,2", "expected an integer, found \"99999999999999999999\"");
    wrong(Float, "1,\nnan,2", "the value is missing");
    wrong(Float, "1,\n1e300,2", "1e300 is too large");
    wrong(Weight, "1,\nNaN,2", "a weight of NaN");
    wrong(Weight, "1,\n-1,2", "a weight of -1");
    wrong(Weight, "1,\ninf,2", "a weight of inf");
    wrong(FloatVector { len: None }, "1 2,\n1 2 3,", "a vector of 3 numbers among vectors of 2");
    wrong(FloatVector { len: None }, "1 2,\n[],", "the value is missing");
    wrong(FloatVector { len: Some(1) }, "1,\n1 x,", "expected a list of numbers, found \"1 x\"");
    wrong(MultiHot { classes: 3 }, "1 2,\n0 3,", "class 3 of 3");
    wrong(MultiHot { classes: 3 }, "1 2,\n-1,", "class -1 of 3");
    wrong(MultiHot { classes: 3 }, "1 2,\n0.5,", "class 0.5 of 3");
    wrong(Path, "a,\n,2", "the value is missing");
    wrong(Path, "a,\nb/../../c,2", "the path \"b/../../c\" has a `..`");
    wrong(Path, "a,\n/etc/passwd,2", "the path \"/etc/passwd\" lies outside the root");
    wrong(Path, "a,\n./,2", "the path \"./\" names no file");
    assert!(open_list("l.csv", "x,y\n,1\n", &[spec("x", Text)]).is_ok(), "an empty text is a text");
}

#[test]
fn a_wrong_value_of_a_record_is_named_by_its_number() {
    assert_says(
        open_records("{\"n\": 1}\n{\"n\": \"1\"}", None),
        "records record 1, column n: expected an integer, found the text \"1\"",
    );
    assert_says(
        open_records("{\"n\": 1}\n{\"n\": null}", None),
        "records record 1, column n: the value is missing",
    );
    assert_says(
        open_records("{\"n\": 1, \"m\": 2}\n{\"n\": 1}", None),
        "records record 1, column m: the value is missing",
    );
    assert_says(
        open_records("{\"n\": 1}\n{\"n\": 1, \"m\": 2}", None),
        "records record 1 has a field m that the first record lacks",
    );
    assert_says(
        open_records("{\"n\": 1}\n{\"n\": 1, \"n\": 2}", None),
        "records record 1 has two columns named n",
    );
    assert_says(
        open_records("{\"n\": {}}", None),
        "column n of records holds objects or lists of other things than numbers",
    );
    assert_says(
        open_records("{\"n\": 1}\n{\"n\": [1]}", None),
        "records record 1, column n: expected an integer, found a list of 1",
    );
    assert_says(
        open_records("{\"path\": \"a\"}", None),
        "records record 0, column path: there is a path, but no root that it is relative to",
    );
}

#[test]
fn text_in_another_encoding_is_an_error_but_a_path_may_have_any_bytes() {
    let latin1 = b"path,caption\nb\xe4r.jpg,B\xe4r\n";
    assert_says(open_list("l.csv", latin1, &[]), "l.csv line 2, column caption: the text is not UTF-8");
    let snapshot = open_list("l.csv", latin1, &[spec("path", ColumnKind::Path)]).unwrap();
    assert_eq!(snapshot.column("path").unwrap().path(0), b"b\xe4r.jpg");
}

#[test]
fn a_file_that_is_no_list_is_an_error_that_says_so() {
    assert_says(open_list("list.txt", "a", &[]), "list.txt is not known");
    assert_says(open_list("l.csv", "", &[]), "l.csv lists no samples");
    assert_says(open_list("l.csv", "path,label\n", &[]), "l.csv lists no samples");
    assert_says(open_list("l.jsonl", "\n\n", &[]), "l.jsonl lists no samples");
    assert_says(open_list("l.csv", "a,a\n1,2\n", &[]), "l.csv has two columns named a");
    assert_says(
        open_list("l.csv", "a,b\n1,2\n", &[spec("c", ColumnKind::Int)]),
        "l.csv has no column c; it has a, b",
    );
    let twice = [spec("a", ColumnKind::Int), spec("a", ColumnKind::Int)];
    assert_says(open_list("l.csv", "a\n1\n", &twice), "l.csv has two columns named a");
    let uneven = open_list("l.csv", "a,b\n1,2\n3\n", &[]).unwrap_err();
    assert!(matches!(&uneven, CatalogError::Csv { place, .. } if place.number == 3), "{uneven:?}");
    let array = open_list("l.jsonl", "{\"a\": 1}\n[1]\n", &[]).unwrap_err();
    assert!(matches!(&array, CatalogError::Json { place, .. } if place.number == 2), "{array:?}");
    let nan = open_list("l.jsonl", "{\"a\": NaN}\n", &[]).unwrap_err();
    assert!(nan.hint().unwrap().contains("NaN"), "{nan:?}");
}

#[test]
fn a_list_that_is_missing_is_not_found() {
    let spec =
        SourceSpec::List { file: "/missing.csv".into(), root: "/".into(), format: None, columns: vec![] };
    let error = open(&spec, &CatalogLimits::default()).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (CatalogErrorKind::NotFound, "open /missing.csv".to_owned())
    );
}

#[test]
fn every_limit_holds() {
    let limits = CatalogLimits {
        rows_max: 3,
        line_bytes_max: 100,
        columns_max: 2,
        text_bytes_max: 5,
        vector_len_max: 2,
        tokens_max: 3,
        ..CatalogLimits::default()
    };
    let open =
        |name: &str, text: &str, columns: &[ColumnSpec]| open_list_within(name, text, columns, &limits);
    assert!(open("l.csv", "a,t\n1,abcde\n1,\n1,\n", &[]).is_ok());
    assert_says(open("l.csv", "a\n1\n1\n1\n1\n", &[]), "l.csv has more than 3 samples");
    assert_says(open("l.csv", "a,b,c\n1,2,3\n", &[]), "l.csv has 3 columns, the limit is 2");
    assert_says(
        open("l.csv", "t\n123456\n", &[spec("t", ColumnKind::Text)]),
        "6 bytes of text, the limit is 5",
    );
    assert_says(
        open("l.csv", "v\n1 2 3\n", &[spec("v", ColumnKind::FloatVector { len: None })]),
        "a vector of 3 numbers, the limit is 2",
    );
    assert_says(
        open("l.csv", "v\n1\n", &[spec("v", ColumnKind::MultiHot { classes: 3 })]),
        "a vector of 3 numbers, the limit is 2",
    );
    let tokens = [spec("v", ColumnKind::Tokens)];
    assert!(open("l.csv", "v\n1 2 3\n", &tokens).is_ok());
    assert_says(open("l.csv", "v\n1 2 3 4\n", &tokens), "4 tokens, the limit is 3");
    let long = "x".repeat(101);
    assert_says(open("l.csv", &format!("t\n{long}\n"), &[]), "l.csv line 2 is longer than 100 bytes");
    assert_says(
        open("l.jsonl", &format!("{{\"t\": \"{long}\"}}\n"), &[]),
        "l.jsonl line 1 is longer than 100 bytes",
    );
}

#[test]
fn an_open_quote_cannot_swallow_a_large_file() {
    let limits = CatalogLimits { line_bytes_max: 1000, ..CatalogLimits::default() };
    let text = format!("t\n\"{}", "never closed\n".repeat(1_000_000));
    assert_says(open_list_within("l.csv", text, &[], &limits), "l.csv line 2 is longer than 1000 bytes");
}

#[test]
fn a_list_that_is_a_folder_is_an_error_of_its_reading() {
    let dir = dir_of(&["l.csv/", "l.jsonl/", "l.parquet/"]);
    for name in ["l.csv", "l.jsonl"] {
        let error = open_list_at(dir.path(), name, &[], &CatalogLimits::default()).unwrap_err();
        assert!(matches!(error, CatalogError::Io { action: "read", .. }), "{error:?}");
        assert_eq!(error.kind(), CatalogErrorKind::Invalid);
    }
    let error = open_list_at(dir.path(), "l.parquet", &[], &CatalogLimits::default()).unwrap_err();
    assert!(matches!(error, CatalogError::Parquet { .. }), "{error:?}");
}

#[test]
fn lists_of_any_length_are_tokens_where_they_are_named_so() {
    let tokens = [spec("t", ColumnKind::Tokens)];
    let csv = open_list("l.csv", "t\n1 2 3\n[]\n\"[-100, 2147483647]\"\n", &tokens).unwrap();
    let json = "{\"t\": [1, 2, 3]}\n{\"t\": []}\n{\"t\": [-100, 2147483647]}\n";
    let json = open_list("l.jsonl", json, &tokens).unwrap();
    for snapshot in [&csv, &json] {
        let column = snapshot.column("t").unwrap();
        let lists: Vec<_> = (0..3).map(|row| column.tokens(row)).collect();
        assert_eq!(lists, [&[1, 2, 3][..], &[], &[-100, i32::MAX]]);
    }
    assert_eq!(csv.id(), json.id());
    let wrong = |cell: &str, says: &str| {
        assert_says(open_list("l.jsonl", format!("{{\"t\": {cell}}}\n"), &tokens), says);
    };
    wrong("[1.5]", "line 1, column t: the token 1.5");
    wrong("[2147483648]", "the token 2147483648");
    wrong("[-3000000000]", "the token -3000000000");
    wrong("[1, null]", "found a list of other things than numbers");
    wrong("7", "expected a list of numbers, found 7");
    let inferred = open_list("l.jsonl", "{\"t\": [1]}\n{\"t\": [1, 2]}\n", &[]).unwrap_err();
    assert!(inferred.hint().unwrap().contains("`tokens`"), "{:?}", inferred.hint());
}
