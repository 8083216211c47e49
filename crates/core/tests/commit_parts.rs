//! Parts of changes: the base gets what was picked, the tree shows what it did, and the rest
//! is a change of what the base has by then.

#[path = "changes/naive.rs"]
#[allow(dead_code)]
mod naive;
#[path = "changes/scene.rs"]
#[allow(dead_code)]
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, SystemTime};

use mini_fo_core::commit_steps::{Hash, Part, Piece};
use mini_fo_core::{
    BaseState, ChangesOptions, CommitError, CommitFate, CommitPlan, CommitRefusal, CommitSide,
    CommitWish, FinishedCommit, FoundChange, OpenMode, Overlay, RenameMode, RestOptions,
    finish_commit, writing_at_rest,
};

use scene::{Dice, Scene, Tree};

/// A text, and what has become of it: stretches of lines, and what is in their places.
struct Text {
    before: String,
    after: String,
    pieces: Vec<Piece>,
}

impl Text {
    fn random(dice: &mut Dice) -> Text {
        let mut text = Text { before: String::new(), after: String::new(), pieces: Vec::new() };
        for n in 0..1 + dice.below(6) {
            let same = format!("{}same {n}\n", "more\n".repeat(dice.below(3)));
            text.before += &same;
            text.after += &same;
            let old = format!("old {n}\n").repeat(dice.below(3));
            let new = format!("new {n}\n").repeat(dice.below(3));
            let (from, start) = (text.before.len() as u64, text.after.len() as u64);
            text.before += &old;
            text.after += &new;
            let piece = Piece {
                before: from..text.before.len() as u64,
                after: start..text.after.len() as u64,
            };
            if !old.is_empty() || !new.is_empty() {
                text.pieces.push(piece);
            }
        }
        text
    }

    fn part(&self, path: &str, pieces: Vec<Piece>, attributes: bool) -> Part {
        let hash = |text: &str| Hash::of(text.as_bytes());
        let (before, after) = (hash(&self.before), hash(&self.after));
        Part { path: path.as_bytes().into(), pieces, before, after, attributes }
    }

    /// Some of it by chance, and what the file is then.
    fn pick(&self, path: &str, dice: &mut Dice) -> (Part, String) {
        let pieces: Vec<Piece> =
            self.pieces.iter().filter(|_| dice.below(2) == 0).cloned().collect();
        let mut made = self.before.clone();
        for piece in pieces.iter().rev() {
            let range = |range: &std::ops::Range<u64>| range.start as usize..range.end as usize;
            made.replace_range(range(&piece.before), &self.after[range(&piece.after)]);
        }
        (self.part(path, pieces, dice.below(3) == 0), made)
    }
}

const FILES: [&str; 4] = ["a", "b", "d/f", "g/h/i/j"];

fn options(scene: &Scene) -> RestOptions {
    RestOptions { path: scene.storage.clone(), ..RestOptions::default() }
}

fn writing(scene: &Scene) -> Overlay {
    writing_at_rest(&options(scene)).unwrap()
}

fn plan(
    upper: &Overlay,
    parts: &[Part],
    wish: &dyn Fn(&[u8]) -> CommitWish,
) -> Result<CommitPlan, CommitRefusal> {
    upper.plan_commit_parts(CommitSide::Ours, (&[], parts), &mut |change| wish(change.path))
}

fn stays(_: &[u8]) -> CommitWish {
    CommitWish::Stays
}

/// A base in which a file is one of these lines, of an old time.
fn set_base(scene: &Scene, path: &str, text: &str) {
    fs::write(scene.base.join(path), text).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    fs::File::open(scene.base.join(path)).unwrap().set_modified(old).unwrap();
}

/// All that a mount shows, but for numbers and times of change.
type View = BTreeMap<String, (u32, Vec<u8>, Option<mini_fo_core::Timestamp>)>;

fn view(scene: &Scene) -> View {
    scene.live(|tree| {
        let look = |(path, kind): (String, u32)| {
            let attr = tree.0.getattr(tree.find(&path).unwrap()).unwrap();
            let is_file = kind == libc::S_IFREG;
            let content = if is_file { tree.read(&path) } else { Vec::new() };
            (path, (attr.mode, content, is_file.then_some(attr.mtime)))
        };
        tree.all().into_iter().map(look).collect()
    })
}

/// Whether all that is told was made from what the base has, and of which files content
/// differs.
fn left(scene: &Scene) -> Vec<String> {
    let mut left = Vec::new();
    let upper = scene.at_rest();
    upper
        .changes(&ChangesOptions::default(), &mut |found| {
            let FoundChange::Change(change) = found else { panic!("unread") };
            let path = String::from_utf8(change.path.to_vec()).unwrap();
            let state = change.base_state().unwrap();
            assert!(!matches!(state, BaseState::Changed(_)), "{path}: {state:?}");
            if FILES.contains(&&*path) {
                assert_eq!(state, BaseState::Same, "{path}");
            }
            left.push(path);
            true
        })
        .unwrap();
    left
}

/// Carries a plan out, or is killed after some steps, and then finishes it or takes it back.
/// Whether it is done.
fn carried_out(
    scene: &Scene,
    parts: &[Part],
    dice: &mut Dice,
    wish: &dyn Fn(&[u8]) -> CommitWish,
) -> bool {
    let upper = writing(scene);
    let plan = plan(&upper, parts, wish).unwrap();
    assert!(!plan.has_conflicts(), "{:?}", plan.entries);
    let all = plan.makes().len() + plan.program().steps.len();
    let at = dice.below(2 * all.max(1)) as u64;
    let run = catch_unwind(AssertUnwindSafe(|| {
        plan.carry_out(upper, &options(scene), &mut |progress| {
            assert!(progress.done <= at, "killed");
        })
    }));
    if let Ok(done) = run {
        done.unwrap();
        return true;
    }
    match finish_commit(&options(scene), dice.below(2) == 0, &mut |_| {}).unwrap() {
        FinishedCommit::Done(_) => true,
        FinishedCommit::TakenBack | FinishedCommit::Nothing => false,
    }
}

fn one_trial(seed: u64) {
    let mut dice = Dice(seed);
    let scene = Scene::new();
    let texts: Vec<Text> = FILES.iter().map(|_| Text::random(&mut dice)).collect();
    FILES.iter().zip(&texts).for_each(|(path, text)| set_base(&scene, path, &text.before));
    let mode = [0o644, 0o755][dice.below(2)];
    scene.live(|tree| {
        for (path, text) in FILES.iter().zip(&texts) {
            tree.write(path, text.after.as_bytes());
            tree.chmod(path, mode);
        }
        tree.write("n", b"new");
        tree.unlink("c");
        tree.rename("dir/y", "y", RenameMode::Replace);
    });
    let before = view(&scene);
    let picks: Vec<(Part, String)> = FILES
        .iter()
        .zip(&texts)
        .filter(|(_, text)| text.before != text.after)
        .map(|(path, text)| text.pick(path, &mut dice))
        .collect();
    let parts: Vec<Part> = picks.iter().map(|(part, _)| part.clone()).collect();
    let whole: Vec<&str> = ["n", "c", "y"].into_iter().filter(|_| dice.below(2) == 0).collect();
    let wish = |path: &[u8]| match whole.iter().any(|one| one.as_bytes() == path) {
        true => CommitWish::Goes,
        false => CommitWish::Stays,
    };
    let base_mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let old_mode = base_mode(&scene.base.join("b"));
    let old: Vec<u64> = FILES.iter().map(|path| ino(&scene.base.join(path))).collect();
    let mut done = carried_out(&scene, &parts, &mut dice, &wish);
    if !done {
        let now: Vec<u64> = FILES.iter().map(|path| ino(&scene.base.join(path))).collect();
        assert_eq!(now, old, "seed {seed}: taken back");
    }
    while !done {
        assert_eq!(view(&scene), before, "seed {seed}: in between");
        done = carried_out(&scene, &parts, &mut dice, &wish);
    }
    for (part, made) in &picks {
        let path = scene.base.join(std::str::from_utf8(&part.path).unwrap());
        assert_eq!(&fs::read_to_string(&path).unwrap(), made, "seed {seed}: {part:?}");
        let expected = if part.attributes { mode } else { old_mode };
        assert_eq!(base_mode(&path), expected, "seed {seed}: {part:?}");
    }
    assert_eq!(scene.base.join("n").exists(), whole.contains(&"n"), "seed {seed}");
    assert_eq!(scene.base.join("c").exists(), !whole.contains(&"c"), "seed {seed}");
    assert_eq!(view(&scene), before, "seed {seed}: after it");
    left(&scene);
    // The rest is in no conflict.
    let upper = writing(&scene);
    let all = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    assert!(!all.has_conflicts(), "seed {seed}: {:?}", all.entries);
    all.carry_out(upper, &options(&scene), &mut |_| {}).unwrap();
    assert_eq!(left(&scene), Vec::<String>::new());
    assert_eq!(view(&scene), before, "seed {seed}: at the end");
    for (path, text) in FILES.iter().zip(&texts) {
        assert_eq!(fs::read_to_string(scene.base.join(path)).unwrap(), text.after);
    }
}

fn ino(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn parts_by_chance() {
    let seeds = std::env::var("MINI_FO_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    (0..seeds.unwrap_or(40)).for_each(one_trial);
}

/// Prepares a scene with one text that has changed in two places.
fn two_places(also: impl FnOnce(&Tree)) -> (Scene, Text) {
    let scene = Scene::new();
    let text = Text {
        before: "one\nsame\ntwo\n".into(),
        after: "ONE\nsame\ntwo and\n".into(),
        pieces: vec![Piece { before: 0..4, after: 0..4 }, Piece { before: 9..13, after: 9..17 }],
    };
    set_base(&scene, "a", &text.before);
    scene.live(|tree| {
        tree.write("a", text.after.as_bytes());
        also(tree);
    });
    (scene, text)
}

fn first_of(text: &Text) -> Part {
    text.part("a", text.pieces[..1].to_vec(), false)
}

#[test]
fn the_base_has_a_part_and_the_time_of_it() {
    let (scene, text) = two_places(|_| {});
    let before = SystemTime::now() - Duration::from_secs(5);
    let upper = writing(&scene);
    let planned = plan(&upper, &[first_of(&text)], &stays).unwrap();
    let [entry] = &*planned.entries else { panic!("{:?}", planned.entries) };
    assert_eq!((entry.fate, entry.bytes, entry.in_parts), (CommitFate::Part, 13, true));
    let done = planned.carry_out(upper, &options(&scene), &mut |_| {}).unwrap();
    assert_eq!(done.bytes, 13);
    assert_eq!(fs::read_to_string(scene.base.join("a")).unwrap(), "ONE\nsame\ntwo\n");
    assert!(fs::metadata(scene.base.join("a")).unwrap().modified().unwrap() > before);
    assert_eq!(left(&scene), ["a"]);
    // The other one makes it what the tree shows, with the time of that.
    let rest = Text { before: "ONE\nsame\ntwo\n".into(), ..text };
    let last = rest.part("a", rest.pieces[1..].to_vec(), false);
    let upper = writing(&scene);
    let planned = plan(&upper, &[last], &stays).unwrap();
    planned.carry_out(upper, &options(&scene), &mut |_| {}).unwrap();
    assert_eq!(left(&scene), Vec::<String>::new());
}

/// What it is called, and what is done to the tree.
type Case = (&'static str, fn(&Tree));

/// What belongs together with something else goes as a whole.
#[test]
fn what_hangs_together_has_no_parts() {
    let cases: [Case; 4] = [
        ("linked", |tree| tree.link("a", "another")),
        ("moved away", |tree| {
            tree.write("tmp", b"ONE\nsame\ntwo and\n");
            tree.rename("a", "old", RenameMode::Replace);
            tree.unlink("old");
            tree.rename("b", "old", RenameMode::Replace);
            tree.rename("tmp", "b", RenameMode::Replace);
        }),
        ("deleted", |tree| tree.unlink("a")),
        ("as it was", |tree| tree.write("a", b"one\nsame\ntwo\n")),
    ];
    for (what, also) in cases {
        let (scene, text) = two_places(|_| {});
        scene.live(|tree| {
            also(tree);
        });
        let upper = writing(&scene);
        let path = if what == "moved away" { "b" } else { "a" };
        let part = text.part(path, text.pieces[..1].to_vec(), false);
        let refusal = plan(&upper, &[part], &stays);
        let is_refused =
            matches!(&refusal, Err(CommitRefusal::NotInParts(at)) if **at == *path.as_bytes());
        assert!(is_refused, "{what}: {refusal:?}");
        upper.finish();
    }
}

/// A directory that shows another one, or none, goes as a whole.
#[test]
fn what_is_in_a_unit_has_no_parts() {
    let scene = Scene::new();
    set_base(&scene, "d/f", "one\nsame\ntwo\n");
    scene.live(|tree| {
        tree.remove_all("d");
        tree.mkdir("d");
        tree.write("d/f", b"ONE\nsame\ntwo\n");
    });
    let upper = writing(&scene);
    let (old, new) = (Hash::of(b"one\nsame\ntwo\n"), Hash::of(b"ONE\nsame\ntwo\n"));
    let pieces = vec![Piece { before: 0..4, after: 0..4 }];
    let path = b"d/f"[..].into();
    let part = Part { path, pieces, before: old, after: new, attributes: false };
    assert!(matches!(plan(&upper, &[part], &stays), Err(CommitRefusal::NotInParts(_))));
    upper.finish();
}

/// What was picked was picked of what was shown.
#[test]
fn another_content_is_no_part_of_it() {
    let (scene, text) = two_places(|_| {});
    let part = first_of(&text);
    for (what, edit) in [("the base", true), ("the tree", false)] {
        match edit {
            true => set_base(&scene, "a", "uno\nsame\ntwo\n"),
            false => {
                set_base(&scene, "a", &text.before);
                scene.live(|tree| tree.write("a", b"Eno\nsame\ntwo and\n"));
            }
        }
        let base = fs::read(scene.base.join("a")).unwrap();
        let upper = writing(&scene);
        let planned = plan(&upper, std::slice::from_ref(&part), &stays).unwrap();
        let failed = planned.carry_out(upper, &options(&scene), &mut |_| {}).unwrap_err();
        assert!(matches!(failed, CommitError::Outdated { .. }), "{what}: {failed}");
        assert_eq!(fs::read(scene.base.join("a")).unwrap(), base, "{what}");
        assert_eq!(left_unchecked(&scene), ["a"], "{what}");
    }
    // Without a word for whom, it is in conflict.
    set_base(&scene, "a", "uno\nsame\n");
    let upper = writing(&scene);
    let planned = upper
        .plan_commit_parts(CommitSide::Neither, (&[], &[part]), &mut |_| CommitWish::Stays)
        .unwrap();
    assert!(planned.has_conflicts(), "{:?}", planned.entries);
    upper.finish();
}

fn left_unchecked(scene: &Scene) -> Vec<String> {
    let tree = Tree(scene.at_rest());
    tree.told().into_iter().map(|told| String::from_utf8(told.path).unwrap()).collect()
}

/// A live mount goes on with the file that it has, and shows it by the number of the base's.
#[test]
fn a_file_stays_open_to_all_in_a_live_commit() {
    let (scene, text) = two_places(|_| {});
    let tree = Tree(Overlay::assemble(&scene.options).unwrap());
    let node = tree.find("a").unwrap();
    let mut plan = |borrower: &Overlay, in_use: &mini_fo_core::InUse| {
        assert!(in_use.is_empty());
        let parts = [first_of(&text)];
        let stays = &mut |_: &mini_fo_core::Change<'_>| CommitWish::Stays;
        Some(borrower.plan_commit_parts(CommitSide::Neither, (&[], &parts), stays).unwrap())
    };
    let mut told = Vec::new();
    let open_now = mini_fo_core::OpenNow::default;
    let mut tell = |renewed: mini_fo_core::Renewed| told.extend(renewed.nodes);
    let listener = mini_fo_core::CommitListener { each: &mut |_, _| true, tell: &mut tell };
    let done = tree.0.commit_live(&open_now, &mut plan, listener);
    assert_eq!(done.unwrap().unwrap().bytes, 13);
    assert!(matches!(told[..], [another] if another.node == node));
    assert_eq!(tree.0.getattr(node).unwrap().ino, ino(&scene.base.join("a")));
    let file = tree.0.open(node, OpenMode { write: true, ..OpenMode::default() }).unwrap();
    tree.0.write(&file, b"EIN", 0, false).unwrap();
    drop(file);
    assert_eq!(tree.read("a"), b"EIN\nsame\ntwo and\n");
    tree.0.finish();
    drop(tree);
    assert_eq!(fs::read_to_string(scene.base.join("a")).unwrap(), "ONE\nsame\ntwo\n");
    assert_eq!(left(&scene), ["a"]);
}
