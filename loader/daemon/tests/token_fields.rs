//! Fields of tokens as a spec asks for them: what they become, and what is refused with the cure.

mod token_rows;

use std::collections::HashSet;
use std::sync::Arc;

use forebay::error::Kind;
use forebay::job::Job;
use token_rows::{Corpus, PACKED_FIELDS, Stored, order, packed, snapshot, tokens_field, try_job};

#[test]
fn a_row_is_as_wide_as_the_longest_sample_where_columns_say_it_and_nobody_else_does() {
    let width = |stored| {
        let corpora = [Corpus::new(&[5, 9], stored, 0), Corpus::new(&[11], stored, 10)];
        let snapshots = corpora.map(|corpus| corpus.snapshot).to_vec();
        let sources = r#","sources":[{"share":1},{"share":1}]"#;
        let job = try_job(&tokens_field(stored, ""), r#"{"sampler":"SAMPLER_MIXTURE"}"#, sources, snapshots);
        job.map(|job| job.fields[0].spec.dims.clone())
    };
    assert_eq!(width(Stored::Lists).expect("a job"), [11]);
    assert_eq!(width(Stored::OneFile).expect("a job"), [11]);
    let fault = width(Stored::AFileEach).expect_err("not known");
    assert!(fault.to_string().contains("not known before it is read"), "{fault}");
}

#[test]
fn what_no_row_can_be_made_of_is_refused_with_the_cure() {
    let corpus = |stored| Corpus::new(&[10, 20], stored, 0).snapshot;
    let packing = order(r#""packed":{"capacity":100}"#, 64);
    let field = |more: &str| format!(r#"{{"name":"x",{more}}}"#);
    let lists = |more: &str| tokens_field(Stored::Lists, more);
    let each = |more: &str| tokens_field(Stored::AFileEach, more);
    let of_path = |more: &str| field(&format!(r#""decode":"DECODE_TOKENS","column":"path",{more}"#));
    let (by_lists, by_one, by_each) = (Stored::Lists, Stored::OneFile, Stored::AFileEach);
    let substitute = r#","onBadSample":{"policy":"BAD_SAMPLE_POLICY_SUBSTITUTE"}"#;
    let cases = [
        (by_lists, field(r#""column":"id""#), packing.as_str(), "", "holds several samples"),
        (by_lists, field(r#""decode":"DECODE_SOURCE""#), &packing, "", "holds several samples"),
        (by_lists, lists(""), &packing, substitute, "\"substitute\" of packed rows"),
        (
            by_lists,
            lists(r#","capacity":99"#),
            &packing,
            "",
            "a capacity of 99 in rows that are packed to 100",
        ),
        (by_lists, lists(r#","failOnLong":true"#), &packing, "", "the packing's to say"),
        (by_lists, lists(r#","storedDtype":"DTYPE_UINT16""#), "{}", "", "holds the tokens themselves"),
        (
            by_lists,
            lists(r#","capacity":15,"failOnLong":true"#),
            "{}",
            "",
            "sample 1 has 20 tokens, more than 15",
        ),
        (by_lists, lists(r#","pad":"2147483648""#), "{}", "", "does not fit int32"),
        (by_lists, lists("").replace("INT32", "FLOAT32"), "{}", "", "can't be float32"),
        (by_lists, lists("").replace("text", "id"), "{}", "", "column id is int, and no tokens"),
        (
            by_lists,
            lists(r#","transforms":[{"centerCrop":{"size":[8]}}]"#),
            "{}",
            "",
            "transforms work on images",
        ),
        (by_lists, field(r#""column":"text","decode":"DECODE_VALUE""#), "{}", "", "no value of one shape"),
        (by_lists, field(r#""column":"id","capacity":7"#), "{}", "", "are of tokens"),
        (by_lists, field(r#""decode":"DECODE_SEGMENT_IDS""#), "{}", "", "of rows that are not packed"),
        (
            by_lists,
            field(r#""decode":"DECODE_BOUNDARIES","column":"text""#),
            &packing,
            "",
            "it has no column",
        ),
        (
            by_lists,
            field(r#""decode":"DECODE_SEGMENT_IDS","dtype":"DTYPE_INT64""#),
            &packing,
            "",
            "it is int32",
        ),
        (by_lists, field(r#""decode":"DECODE_LENGTH""#), "{}", "", "a length of tokens that no field has"),
        (by_each, of_path(r#""capacity":7"#), "{}", "", "tokens stored as DTYPE_UNSPECIFIED"),
        (
            by_each,
            of_path(r#""capacity":7,"storedDtype":"DTYPE_FLOAT32""#),
            "{}",
            "",
            "tokens stored as DTYPE_FLOAT32",
        ),
        (by_each, each(r#","offsetColumn":"id","capacity":7"#), "{}", "", "an offset without a length"),
        (
            by_each,
            each(r#","offsetColumn":"id","lengthColumn":"path""#),
            "{}",
            "",
            "no column \"path\" of whole numbers",
        ),
        (
            by_one,
            tokens_field(by_one, "").replace(r#"n":"count""#, r#"n":"id""#),
            &packing,
            "",
            "0 tokens, and the column of lengths says 10",
        ),
    ];
    for (stored, fields, order, more, says) in cases {
        let fault = try_job(&fields, order, more, vec![corpus(stored)]).err();
        let fault = fault.unwrap_or_else(|| panic!("{fields} in {order} is a job"));
        assert_eq!(fault.kind, Kind::Invalid, "{fields}: {fault}");
        assert!(fault.to_string().contains(says), "{fields}: {fault}");
    }
    let two =
        lists("") + "," + &lists("").replace("tokens", "again") + r#",{"name":"n","decode":"DECODE_LENGTH"}"#;
    let fault = try_job(&two, "{}", "", vec![corpus(by_lists)]).err().expect("a length of which?");
    assert!(fault.to_string().contains("of which tokens"), "{fault}");
    let lines = r#"{"path":"a.bin","id":0,"count":5,"offset":-1,"key":"k"}"#;
    let fault = try_job(&tokens_field(by_one, ""), "{}", "", vec![snapshot(lines, by_one)]);
    assert!(fault.err().expect("no place").to_string().contains("5 tokens from -1 on, of sample k"));
}

#[test]
fn lists_are_packed_by_their_own_lengths_where_their_column_is_named() {
    let corpus = Corpus::new(&[7, 90, 300, 1, 64, 64], Stored::Lists, 0);
    let by_count = packed(&corpus, Stored::Lists, r#""capacity":128"#, "");
    let fields = tokens_field(Stored::Lists, "") + PACKED_FIELDS;
    let order = order(r#""packed":{"capacity":128}"#, 64);
    let own = order.replace(r#""count""#, r#""text""#);
    let by_own = try_job(&fields, &own, "", vec![corpus.snapshot]).expect("a job");
    assert_eq!(by_count.order_digest, by_own.order_digest, "the same lengths are the same order");
}

#[test]
fn each_setting_of_tokens_is_part_of_the_content_and_its_words() {
    let corpus = Corpus::new(&[10, 20], Stored::OneFile, 0).snapshot;
    let base = tokens_field(Stored::OneFile, r#","capacity":32"#);
    let changed = [
        base.clone(),
        base.replace("INT32\",\"column", "INT64\",\"column"),
        base.replace("UINT32", "UINT16"),
        base.replace(r#""capacity":32"#, r#""capacity":33"#),
        base.replace(r#""capacity":32"#, r#""capacity":32,"pad":"7""#),
        base.replace(r#""capacity":32"#, r#""capacity":32,"failOnLong":true"#),
    ];
    let jobs = changed.map(|field| try_job(&field, "{}", "", vec![Arc::clone(&corpus)]).expect("a job"));
    let names: HashSet<_> = jobs.iter().map(|job| job.content_digest).collect();
    assert_eq!(names.len(), jobs.len());
    let words = |job: &Job| {
        job.content_parts.iter().find(|(name, _)| *name == "field tokens").map(|(_, text)| text.to_owned())
    };
    assert_eq!(
        words(&jobs[4]).as_deref(),
        Some("column path; tokens; stored uint32; offset offset, length count; capacity 32; pad 7; int32")
    );
}
