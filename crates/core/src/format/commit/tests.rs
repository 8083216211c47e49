use super::text::state_line;
use super::*;

fn time(sec: i64) -> Timestamp {
    Timestamp { sec, nsec: 7 }
}

fn path(text: &str) -> Path {
    text.as_bytes().into()
}

fn program() -> CommitProgram {
    let mode = libc::S_IFREG | 0o4640;
    let was = Seen { ino: 77, mode, owner: (3, 4), size: 5, mtime: time(-3), ctime: None };
    let dress = |mode, value: Option<&[u8]>| Dress {
        mode,
        uid: 0,
        gid: 65_534,
        xattrs: vec![(path("user.a b"), value.map(Into::into)), (path("user.c"), None)],
    };
    CommitProgram {
        steps: vec![
            Step::Take { slot: Slot::new(0), at: path("a b/\n\\x"), was },
            Step::Put { slot: Slot::new(0), at: path("new") },
            Step::Swap { slot: Slot::new(1), at: path("d/e"), was },
            Step::Dress {
                at: path(""),
                before: dress(0o755, Some(b"")),
                after: dress(0o4700, None),
            },
            Step::Time { at: path("d"), after: time(9), before: Some((path("old"), time(8))) },
            Step::Time { at: path("made"), after: time(9), before: None },
        ],
        tops: vec![path("")],
        kept: vec![path("stays"), path("\u{e4}")],
        renewed: vec![(path("d/e f"), print())],
        made: vec![(Slot::new(7), was)],
        trees: vec![(Slot::new(0), time(5))],
        times_back: vec![(path("x y"), time(6))],
    }
}

fn print() -> Print {
    let (mode, hash) = (libc::S_IFREG | 0o2751, Some(Hash([7; 16])));
    Print { mode, uid: 3, gid: 4, size: 5, mtime: time(-3), hash, since: None }
}

fn head() -> Head {
    let place = StagePlace { time: time(1), ..StagePlace::default() };
    Head { token: Token(Hash([9; 16])), stages: vec![place] }
}

/// Stages elsewhere than in the root of the base.
fn head_of_places() -> Head {
    let place =
        |dir, mount, sec| StagePlace { dir: path(dir), mount: path(mount), time: time(sec) };
    Head { stages: vec![place("a b/c", "", 2), place("home/x", "home", 3)], ..head() }
}

#[test]
fn stages_have_their_places() {
    let mut program = program();
    let slot = Slot { stage: 1, number: 7 };
    program.steps.insert(1, Step::Put { slot, at: path("home/y") });
    program.made.push((slot, program.made[0].1));
    let text = write(&head_of_places(), Some(&program));
    assert!(text.starts_with(b"mini_fo commit 2\nh "));
    let read = parse(&text).unwrap();
    assert_eq!((&read.head, &read.program), (&head_of_places(), &program));
    let staging = parse(&write(&head_of_places(), None)).unwrap();
    assert_eq!((staging.head, staging.state), (head_of_places(), CommitState::Staging));
    // A journal of one stage in the root is one that earlier versions read.
    assert!(write(&head(), None).starts_with(b"mini_fo commit 1\nh "));
    let other = |from: &str, to: &str| {
        let text = String::from_utf8(write(&head_of_places(), Some(&program))).unwrap();
        assert!(text.contains(from), "{from}");
        parse(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    assert_eq!(other("p 1:7", "p 2:7").reason, "a slot is in no stage");
    assert_eq!(other("/home/x /home", "/home/x /").reason, "a mount has two stages");
    assert_eq!(other("/home/x /home", "/homes /home").reason, "a stage does not lie in its mount");
    assert_eq!(other("/home/x /home", "/home/x").reason, "a field is missing");
    assert_eq!(other("/home/x", "/home/../x").reason, "a path is malformed");
    let none = b"mini_fo commit 2\nh 09090909090909090909090909090909\n";
    assert_eq!(parse(none).unwrap_err().reason, "it has no stage");
}

#[test]
fn what_is_written_is_read_again() {
    let text = write(&head(), Some(&program()));
    let read = parse(&text).unwrap();
    assert_eq!(read, Journal { head: head(), state: CommitState::Ready, program: program() });
    for state in
        [CommitState::Taken, CommitState::Done, CommitState::BackPut, CommitState::BackTake]
    {
        let text = [&*text, &*state_line(state)].concat();
        assert_eq!(parse(&text).unwrap().state, state);
    }
    let staging = parse(&write(&head(), None)).unwrap();
    assert_eq!((staging.state, staging.program), (CommitState::Staging, CommitProgram::default()));
}

/// Wherever the power went, it is one of the states, and the program whole or not there.
#[test]
fn a_torn_journal_says_less_and_nothing_else() {
    let ready = write(&head(), Some(&program()));
    let text = [&*ready, &*state_line(CommitState::Taken)].concat();
    for end in 0..text.len() {
        match parse(&text[..end]) {
            Ok(read) if end < ready.len() => {
                assert_eq!((read.state, read.program), (CommitState::Staging, Default::default()));
            }
            Ok(read) => assert_eq!((read.state, read.program), (CommitState::Ready, program())),
            Err(damaged) => assert_eq!(damaged.reason, "it has no beginning", "{end}"),
        }
    }
}

#[test]
fn damage_is_told() {
    let text = write(&head(), Some(&program()));
    let other = |from: &str, to: &str| {
        let text = String::from_utf8(text.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        parse(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    assert_eq!(other("commit 1", "commit 3").line, 1);
    assert_eq!(other("d/e", "d/f").reason, "its hash is another one");
    assert_eq!(other("/d/e", "/d/../e").reason, "a path is malformed");
    assert_eq!(other("\nt ", "\nx ").reason, "a step is unknown");
    let behind = [&*text, b"o /more\n"].concat();
    assert_eq!(parse(&behind).unwrap_err().reason, "there is something behind its end");
}
