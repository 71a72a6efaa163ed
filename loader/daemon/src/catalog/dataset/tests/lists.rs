//! Lists that are joined and added: every row finds its sample, or is told of.

use std::path::PathBuf;

use super::*;

/// A folder with a data set of photographs `cats/1.jpg`, `cats/2.jpg`, `dogs/1.jpg` and lists beside it.
struct Place {
    dir: tempfile::TempDir,
    dataset: Dataset,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("photos");
        for path in ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"] {
            std::fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
            std::fs::write(data.join(path), "").unwrap();
        }
        let dataset = dataset(dir.path());
        let spec = SourceSpec::Folder { root: data.clone(), extensions: None };
        let snapshot = open(&spec, &CatalogLimits::default()).unwrap();
        let classes = snapshot.class_map().unwrap().names().to_vec();
        let committed = dataset.commit(|head| {
            let mut next = Manifest { root: data.display().to_string(), ..head.clone() };
            next.classes.clone_from(&classes);
            next.admit_columns(&Table::of(&snapshot))?;
            next.samples.push(dataset.put(&snapshot)?);
            Ok(Some(next))
        });
        committed.unwrap();
        Self { dir, dataset }
    }

    fn list(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    fn table(&self) -> Table {
        self.dataset.table(&self.dataset.head().unwrap()).unwrap()
    }

    /// The labels of all samples, in order.
    fn labels(&self) -> Vec<i64> {
        let table = self.table();
        let label = table.column("label").unwrap();
        (0..table.len()).map(|row| label.column().int(row as u64)).collect()
    }

    fn join<'a>(&self, file: &'a Path, change: impl FnOnce(&mut Joining<'a>)) -> Result<Joined, Fault> {
        let mut joining = Joining {
            file,
            key: None,
            only: &[],
            names: &[],
            labels: None,
            by_stem: false,
            strict: false,
            dry_run: false,
        };
        change(&mut joining);
        self.dataset.join(&joining)
    }

    fn add(&self, file: &Path, update: bool) -> Result<Added, Fault> {
        let files = [file.to_owned()];
        let labels = LabelsAre::Auto;
        self.dataset.add_rows(&Adding { files: &files, root: None, only: &[], labels, update })
    }
}

fn words(keys: &[Vec<u8>]) -> Vec<String> {
    keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

#[test]
fn labels_find_their_samples_and_new_classes_shift_no_old_one() {
    let place = Place::new();
    let absolute = place.dir.path().join("photos/dogs/1.jpg").display().to_string();
    let list =
        place.list("l.csv", &format!("image,label\n./cats//1.jpg,wolf\n{absolute},bear\nbirds/1.jpg,emu\n"));
    let joined = place.join(&list, |join| join.labels = Some(LabelsAre::Auto)).unwrap();
    assert_eq!((joined.matched, joined.made, joined.manifest.number), (2, true, 2));
    assert_eq!(
        (words(&joined.unknown), words(&joined.without)),
        (vec!["birds/1.jpg".into()], vec!["cats/2.jpg".into()])
    );
    // A class that no sample is of is none.
    assert_eq!(joined.manifest.classes, ["cats", "dogs", "bear", "wolf"]);
    assert_eq!(place.labels(), [3, 0, 2]);
    let again = place.join(&list, |join| join.labels = Some(LabelsAre::Auto)).unwrap();
    assert!(!again.made && again.manifest.number == 2);
    let first = place.dataset.table(&place.dataset.at(1).unwrap()).unwrap();
    assert_eq!(first.column("label").unwrap().column().int(0), 0);
}

#[test]
fn a_second_label_set_stands_beside_the_first_and_the_newest_value_of_a_sample_wins() {
    let place = Place::new();
    let second = place.list("b.csv", "image,label\ncats/1.jpg,dogs\ncats/2.jpg,cats\n");
    let names = ["label_v2".to_owned()];
    place.join(&second, |join| (join.labels, join.names) = (Some(LabelsAre::Auto), &names)).unwrap();
    assert_eq!(place.labels(), [0, 0, 1]);
    let later = place.list("c.csv", "image,label\ncats/1.jpg,cats\ndogs/1.jpg,\n");
    place.join(&later, |join| (join.labels, join.names) = (Some(LabelsAre::Auto), &names)).unwrap();
    let table = place.table();
    let label = table.column("label_v2").unwrap();
    assert_eq!([label.column().int(0), label.column().int(1)], [0, 0]);
    assert!(!label.has(2));
}

#[test]
fn columns_with_gaps_keep_them_and_every_kind_comes_back() {
    let place = Place::new();
    let lines = "{\"key\":\"cats/1.jpg\",\"score\":0.5,\"box\":null,\"note\":\"\"}\n\
                 {\"key\":\"dogs/1.jpg\",\"score\":null,\"box\":[1,2],\"note\":\"b\"}\n";
    let list = place.list("l.jsonl", lines);
    let joined = place.join(&list, |_| ()).unwrap();
    let counts = [("score", 1), ("box", 1), ("note", 2)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(joined.columns, counts);
    let table = place.table();
    let cells = |name: &str| table.column(name).unwrap();
    assert_eq!((cells("score").missing(), cells("score").column().float(0)), (2, 0.5));
    assert_eq!((cells("box").missing(), cells("box").column().vector(2)), (2, &[1.0, 2.0][..]));
    assert_eq!(
        (cells("note").has(0), cells("note").has(1), cells("note").column().text(2)),
        (true, false, "b")
    );
    // What other programs read has the same gaps.
    let file = place.dir.path().join("out.parquet");
    std::fs::write(&file, table.to_parquet("here").unwrap()).unwrap();
    let limits = CatalogLimits::default();
    let list = crate::catalog::List::new(&file, &limits).unwrap();
    let columns = list.header().unwrap();
    let reading = crate::catalog::Reading {
        root: Some(Path::new("/")),
        columns: &columns,
        kind: &|_, kind| kind,
        whole: &[],
    };
    let read = list.read(&reading).unwrap().table;
    for cells in table.columns() {
        let back = read.column(cells.column().name()).unwrap();
        assert!((0..table.len()).all(|row| cells.is_same(row, back, row)), "{}", cells.column().name());
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_line_and_nothing_is_committed() {
    let place = Place::new();
    place.join(&place.list("n.csv", "image,n\ncats/1.jpg,1\n"), |_| ()).unwrap();
    let only = ["n".to_owned()];
    let cases = [
        ("image,n\ncats/1.jpg,1\n./cats/1.jpg,2\n", "line 3 is about cats/1.jpg, as line 2 is"),
        ("image,n\ncats/1.jpg,few\n", "line 2, column n: expected an integer, found \"few\""),
        ("image,n\n,1\n", "line 2, column image: no key"),
        ("image,n\ncats/9.jpg,1\n", "rows are called cats/9.jpg, samples cats/1.jpg"),
        ("image,n\ncats/1.jpg,\n", "has a value in n"),
        ("about,n\ncats/1.jpg,1\n", "says which sample a row is about; it has about, n"),
        ("image,label\ncats/1.jpg,dogs\n", "the data set has classes, and the column label names them"),
        ("image,label\ncats/1.jpg,7\n", "the label 7 and 2 classes"),
        ("image,key\ncats/1.jpg,7\n", "no row of"),
        ("image,offset\ncats/1.jpg,7\n", "has no column beside image"),
    ];
    for (text, says) in cases {
        let error = place.join(&place.list("l.csv", text), |_| ()).unwrap_err();
        assert!(error.line().contains(says) && error.hint.is_some(), "{} says {says}?", error.line());
    }
    let strict = place.list("l.csv", "image,n\ncats/1.jpg,5\n");
    let error = place.join(&strict, |join| join.strict = true).unwrap_err();
    assert!(error.line().contains("2 samples have no row, cats/2.jpg the first"), "{}", error.line());
    let kinds = place.list("l.jsonl", "{\"image\":\"cats/1.jpg\",\"n\":\"x\"}\n");
    let error = place.join(&kinds, |join| join.only = &only).unwrap_err();
    assert!(error.hint.unwrap().contains("--as NAME"));
    assert_eq!(place.dataset.head().unwrap().number, 2);
    assert!(!place.join(&strict, |join| join.dry_run = true).unwrap().made);
    assert_eq!(place.dataset.head().unwrap().number, 2);
}

#[test]
fn stems_match_whatever_the_extension_and_two_samples_of_one_stem_are_named() {
    let place = Place::new();
    let list = place.list("l.tsv", "id\tscore\n2\t1\n");
    let joined = place.join(&list, |join| (join.by_stem, join.key) = (true, Some("id"))).unwrap();
    assert_eq!(words(&joined.without), ["cats/1.jpg", "dogs/1.jpg"]);
    let list = place.list("l.tsv", "id\tscore\n1.png\t1\n");
    let error = place.join(&list, |join| (join.by_stem, join.key) = (true, Some("id"))).unwrap_err();
    assert!(error.line().ends_with("line 2 may be about cats/1.jpg or dogs/1.jpg"), "{}", error.line());
}

#[test]
fn rows_become_samples_known_ones_stay_and_removed_ones_do_not_come_back() {
    let place = Place::new();
    let gone = place.dataset.put(&samples("{\"key\":\"cats/2.jpg\",\"reason\":\"law\"}")).unwrap();
    let removed = place.dataset.commit(|head| {
        let mut next = head.clone();
        next.removed.push(gone.clone());
        Ok(Some(next))
    });
    removed.unwrap();
    let text = "image,label,score\ncats/1.jpg,cats,1\ncats/2.jpg,cats,2\nbirds/1.jpg,emu,\nbirds/2.jpg,,3\n";
    let list = place.list("l.csv", text);
    let added = place.add(&list, false).unwrap();
    assert_eq!((added.added, added.known, added.removed_before, added.updated), (2, 1, 1, 0));
    let table = place.table();
    assert_eq!(keys(&table), ["cats/1.jpg", "dogs/1.jpg", "birds/1.jpg", "birds/2.jpg"]);
    assert_eq!(added.manifest.classes, ["cats", "dogs", "emu"]);
    let (label, score) = (table.column("label").unwrap(), table.column("score").unwrap());
    assert_eq!(
        (label.column().int(2), label.has(3), score.missing(), score.column().int(3)),
        (2, false, 3, 3)
    );
    assert!(!place.add(&list, false).unwrap().made);
    let updated = place.add(&list, true).unwrap();
    assert_eq!((updated.updated, place.table().column("score").unwrap().missing()), (3, 2));
}

#[test]
fn rows_that_would_rename_samples_or_have_no_key_are_refused() {
    let place = Place::new();
    let cases = [
        ("key,image\na,x/1.jpg\n", "a column key of"),
        ("image,offset\nx/1.jpg,7\n", "a column offset of"),
        ("path,n\nx/1.jpg,7\n", "samples are called by image, which"),
        ("image,n\n,7\n", "line 2, column image: the value is missing"),
        ("image,n\nx.jpg,7\nx.jpg,8\n", "line 3 is called x.jpg, as line 2 is"),
        ("image,label\nx.jpg,7\n", "the label 7 and 2 classes"),
    ];
    for (text, says) in cases {
        let error = place.add(&place.list("l.csv", text), false).unwrap_err();
        assert!(error.line().contains(says) && error.hint.is_some(), "{} says {says}?", error.line());
    }
    assert_eq!(place.dataset.head().unwrap().number, 1);
}

#[test]
fn an_empty_data_set_takes_keys_that_are_texts_or_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dataset: dataset(dir.path()), dir };
    place.add(&place.list("l.csv", "key,text\n007,a\n7,\n"), false).unwrap();
    assert_eq!(keys(&place.table()), ["007", "7"]);
    let joined = place.join(&place.list("m.csv", "key,n\n7,1\n"), |_| ()).unwrap();
    assert_eq!(words(&joined.without), ["007"]);
}

#[test]
fn a_difference_names_keys_columns_values_and_classes() {
    let place = Place::new();
    let list = place.list("l.csv", "image,label,score\ncats/1.jpg,wolf,1\nbirds/1.jpg,emu,2\n");
    place.add(&list, true).unwrap();
    let diff = place.dataset.diff(&place.dataset.at(1).unwrap(), &place.dataset.at(2).unwrap()).unwrap();
    assert_eq!(
        (words(&diff.added), diff.columns, diff.classes.len()),
        (vec!["birds/1.jpg".into()], vec!["score".to_owned()], 2)
    );
    assert_eq!(diff.values, [("label".to_owned(), 1), ("score".to_owned(), 1)].into());
    let none = place.dataset.diff(&place.dataset.at(2).unwrap(), &place.dataset.at(2).unwrap()).unwrap();
    assert_eq!(none, Diff::default());
}
