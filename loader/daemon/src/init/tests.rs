//! What `forebay init` writes for planted machines, and what it refuses.

use std::fs;

use super::*;

const MOUNTS: &str = "27 1 259:1 / / rw - ext4 /dev/a rw\n40 27 0:52 / /lake rw - lustre mgs:/lake rw\n\
                      41 27 0:53 / /home rw - nfs4 filer:/home rw\n";

fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let slash = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = slash.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }
    let machine = Machine::beneath(slash.path());
    (slash, machine)
}

fn small(more: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let files = [
        ("proc/self/status", "Cpus_allowed_list:\t0-15\n"),
        ("proc/meminfo", "MemTotal:       16777216 kB\n"),
        ("proc/cpuinfo", "model name : Tester 3000\n"),
        ("proc/self/mountinfo", MOUNTS),
    ];
    machine(&[&files[..], more].concat())
}

fn wanted() -> Wanted {
    Wanted { node: None, roots: Vec::new(), socket: "/tmp/f.sock".into(), name: "here.toml".into() }
}

/// The text, and what it configures.
fn made(machine: &Machine, wanted: &Wanted) -> (String, Config) {
    let text = configuration(machine, wanted).expect("a configuration");
    let config = Config::parse(&text).expect("it is one");
    (text, config)
}

#[test]
fn what_was_found_stands_beside_the_values() {
    let (_slash, machine) = small(&[("data/cat/1.jpg", "")]);
    let (text, config) = made(&machine, &wanted());
    assert!(text.starts_with("# forebay serve --config here.toml\n"), "{text}");
    assert!(text.contains("16 processors (Tester 3000), 16.0 GiB, no GPU"), "{text}");
    assert_eq!((config.socket.as_path(), config.cpu_threads), (Path::new("/tmp/f.sock"), 0));
    assert_eq!(config.roots[0].path, Path::new("/data"));
    assert_eq!((config.roots.len(), config.read_threads), (1, Config::default().read_threads));
    assert!(text.lines().count() <= 12, "{text}");
}

#[test]
fn a_network_mount_is_the_root_where_no_usual_folder_is_there_and_a_home_never() {
    let (_slash, machine) = small(&[("lake/a", "")]);
    let (text, config) = made(&machine, &wanted());
    assert_eq!(config.roots.iter().map(|root| root.path.as_path()).collect::<Vec<_>>(), [Path::new("/lake")]);
    assert_eq!(config.read_threads, 64);
    assert!(text.contains("/lake is lustre"), "{text}");
}

#[test]
fn gpus_leave_a_core_to_each_trainer() {
    let gpu = |number: u32| format!("proc/driver/nvidia/gpus/0000:0{number}:00.0/information");
    let (_slash, machine) = small(&[(&gpu(1), "Model: H100\n"), (&gpu(2), "Model: H100\n")]);
    let (text, config) = made(&machine, &wanted());
    assert_eq!(config.cpu_threads, 14);
    assert!(text.contains("2 GPUs"), "{text}");
}

#[test]
fn given_roots_are_taken_as_they_are_and_quoted() {
    let (_slash, machine) = small(&[("data/x", "")]);
    let roots = vec![PathBuf::from("/a b/\"c\\"), PathBuf::from("/lake/set")];
    let (text, config) = made(&machine, &Wanted { roots: roots.clone(), ..wanted() });
    assert_eq!(config.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>(), roots);
    assert!(text.contains("not there yet"), "{text}");
    let odd = Wanted { roots: vec!["/a\nb".into()], ..wanted() };
    assert!(configuration(&machine, &odd).expect_err("a newline").message.contains("can't be written"));
}

#[test]
fn a_machine_that_tells_nothing_still_gets_a_configuration() {
    let (_slash, machine) = machine(&[]);
    assert_eq!(made(&machine, &wanted()).1.roots[0].path, Path::new("/data"));
}

#[test]
fn a_known_node_gets_the_values_of_its_example() {
    let (_slash, machine) = small(&[]);
    for (node, cpu_threads) in [(Node::Dgx1, 32), (Node::DgxA100, 112), (Node::DgxH100, 96)] {
        let (text, config) = made(&machine, &Wanted { node: Some(node), ..wanted() });
        assert_eq!(config.cpu_threads, cpu_threads);
        assert!(text.starts_with("# forebay serve --config here.toml\n# 8 "), "{text}");
        let rooted = Wanted { node: Some(node), roots: vec!["/lake/set".into()], ..wanted() };
        let config = made(&machine, &rooted).1;
        assert_eq!((config.cpu_threads, config.roots.len()), (cpu_threads, 1));
        assert_eq!(config.roots[0].path, Path::new("/lake/set"));
    }
}

#[test]
fn a_file_that_exists_is_written_over_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = |name: &str, force: bool| InitArgs {
        node: Some(Node::Dgx1),
        roots: Vec::new(),
        output: folder.path().join(name),
        force,
    };
    assert!(run(&args("n.toml", false)).expect("a new file").contains("forebay serve --config"));
    fs::write(folder.path().join("n.toml"), "mine").expect("a file");
    let fault = run(&args("n.toml", false)).expect_err("it exists");
    assert!(fault.hint.as_deref().is_some_and(|hint| hint.contains("--force")), "{fault}");
    assert_eq!(fs::read_to_string(folder.path().join("n.toml")).expect("a file"), "mine");
    run(&args("n.toml", true)).expect("by force");
    assert!(fs::read_to_string(folder.path().join("n.toml")).expect("a file").contains("cpu_threads = 32"));
    assert_eq!(run(&args("no/n.toml", false)).expect_err("no folder").kind, Kind::NotFound);
}

#[test]
fn the_next_steps_make_the_sockets_folder_where_it_is_missing() {
    let missing = next_steps("n.toml", Some(Path::new("/nowhere/forebay")));
    assert!(missing.contains("install -d -m 2750 /nowhere/forebay && forebay doctor"), "{missing}");
    let there = next_steps("n.toml", Some(Path::new("/")));
    assert!(there.contains("next: forebay doctor --config n.toml"), "{there}");
}
