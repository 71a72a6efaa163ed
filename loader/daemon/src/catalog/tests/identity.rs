use super::*;

const LIST: &str = "path,label\na.jpg,1\nb.jpg,2\n";

#[test]
fn the_same_folder_has_the_same_name_wherever_it_is_mounted() {
    let files = ["a/1.jpg", "a/b/2.jpg", "c/3.jpg"];
    let (here, there) = (dir_of(&files), dir_of(&files));
    assert_eq!(open_folder(here.path()).unwrap().id(), open_folder(there.path()).unwrap().id());
    let more = dir_of(&["a/1.jpg", "a/b/2.jpg", "c/3.jpg", "c/4.jpg"]);
    assert_ne!(open_folder(here.path()).unwrap().id(), open_folder(more.path()).unwrap().id());
}

#[test]
fn the_same_rows_have_the_same_name_however_they_were_written() {
    let csv = open_list("list.csv", LIST, &[]).unwrap().id();
    assert_eq!(csv, open_list("list.tsv", LIST.replace(',', "\t"), &[]).unwrap().id());
    let json = "{\"path\": \"./a.jpg\", \"label\": 1}\n\n{\"label\": 2, \"path\": \"b.jpg\"}";
    assert_eq!(csv, open_list("list.jsonl", json, &[]).unwrap().id());
    assert_eq!(csv, open_records(json, Some("/")).unwrap().id());
}

#[test]
fn every_difference_in_content_makes_another_name() {
    let id = |text: &str, columns: &[ColumnSpec]| open_list("list.csv", text, columns).unwrap().id();
    let path = spec("path", ColumnKind::Path);
    let given = [
        id(LIST, &[]),
        id(&LIST.replace("b.jpg", "c.jpg"), &[]),
        id(&LIST.replace(",2", ",3"), &[]),
        id(&LIST.replace("label", "class"), &[]),
        id("path,label\nb.jpg,2\na.jpg,1\n", &[]),
        id("path,label\na.jpg,1\n", &[]),
        id(LIST, std::slice::from_ref(&path)),
        id(LIST, &[path.clone(), spec("label", ColumnKind::Float)]),
        id(LIST, &[path.clone(), spec("label", ColumnKind::Weight)]),
        id(LIST, &[path.clone(), spec("label", ColumnKind::Text)]),
        id(LIST, &[path.clone(), spec("label", ColumnKind::MultiHot { classes: 3 })]),
        id(LIST, &[path.clone(), spec("label", ColumnKind::MultiHot { classes: 4 })]),
        id(LIST, &[path.clone(), spec("label", ColumnKind::Tokens)]),
        id(&LIST.replace(",2", ",2 2"), &[path.clone(), spec("label", ColumnKind::Tokens)]),
        id(&LIST.replace(",1", ",1 2"), &[path.clone(), spec("label", ColumnKind::Tokens)]),
        id(LIST, &[spec("label", ColumnKind::Int), path]),
    ];
    let distinct: std::collections::HashSet<_> = given.iter().collect();
    assert_eq!(distinct.len(), given.len());
}

#[test]
fn the_key_is_the_key_column_else_the_first_path_else_the_number() {
    let key =
        |text: &str| String::from_utf8(open_list("l.csv", text, &[]).unwrap().key(1).into_owned()).unwrap();
    assert_eq!(key("path,key\na,x\na,y\n"), "y");
    assert_eq!(key("key,path\n7,a\n8,a\n"), "8");
    assert_eq!(key("label,path,mask\n1,a,m\n1,b,m\n"), "b");
    assert_eq!(key("label\n5\n5\n"), "1");
}

#[test]
fn samples_of_one_file_are_told_apart_by_their_offset() {
    let key =
        |text: &str| String::from_utf8(open_list("l.csv", text, &[]).unwrap().key(1).into_owned()).unwrap();
    assert_eq!(key("path,offset\nx.bin,0\nx.bin,70\n"), "x.bin@70");
    assert_eq!(key("path,offset,key\nx.bin,0,a\nx.bin,70,b\n"), "b");
    assert_eq!(key("path,offset\na,some\nb,text\n"), "b");
    let twice = "path,offset\nx.bin,0\ny.bin,0\nx.bin,0\n";
    let error = open_list("list.csv", twice, &[]).unwrap_err();
    assert!(error.to_string().ends_with("line 4 has the key \"x.bin@0\" of line 2"), "{error}");
}

#[test]
fn a_repeated_key_is_an_error_that_names_both_rows() {
    let twice = "path,label\na.jpg,1\nb.jpg,2\na.jpg,3\nb.jpg,4\n";
    let error = open_list("list.csv", twice, &[]).unwrap_err();
    assert!(error.to_string().ends_with("list.csv line 4 has the key \"a.jpg\" of line 2"), "{error}");
    assert!(error.hint().unwrap().contains("`key`"));
}
