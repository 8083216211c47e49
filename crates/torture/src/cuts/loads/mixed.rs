//! Mixtures by chance.

use super::Load;
use crate::cuts::model::{Id, Kind};
use crate::cuts::op::Op;

impl Load {
    /// Steps by chance until there are `count`.
    pub fn mix(&mut self, count: usize) {
        while self.history.ops.len() < count && self.fresh < 0o770 {
            self.something();
        }
    }

    fn something(&mut self) {
        let file = self.existing(|kind| matches!(kind, Kind::File(_)));
        let dir = self.existing(|kind| matches!(kind, Kind::Dir(_)));
        let any = if self.dice.chance(80) { file.clone() } else { dir.clone() };
        let new = self.new_name();
        match self.dice.below(100) {
            0..8 => drop(self.create(&new)),
            8..13 => drop(self.mkdir(&new)),
            13..15 => {
                let target = format!("to {}", self.fresh());
                self.does(Op::Symlink(new, target));
            }
            15..24 => {
                let size = self.size();
                self.does(Op::Append(file, size));
            }
            24..31 => {
                let (at, size) = (self.dice.below(15_000), self.size());
                self.does(Op::Write(file, at as u64, size));
            }
            31..36 => {
                self.does(Op::Truncate(file.clone(), 0));
                let size = self.size();
                self.does(Op::Append(file, size));
            }
            36..38 => {
                let size = self.dice.below(10_000);
                self.does(Op::Truncate(file, size as u64));
            }
            38..47 => drop(self.does(Op::Unlink(file))),
            47..50 => drop(self.does(Op::Rmdir(dir))),
            50..53 => self.remove_all(&dir),
            53..55 => {
                self.remove_all(&dir);
                self.mkdir(&dir);
                self.create(&format!("{dir}/new"));
            }
            55..62 => drop(self.does(Op::Rename(file, new))),
            62..66 => {
                let other = self.existing(|kind| !matches!(kind, Kind::Dir(_)));
                self.does(Op::Rename(file, other));
            }
            66..71 => {
                let over = self.existing(|kind| matches!(kind, Kind::Dir(all) if all.is_empty()));
                let to = if self.dice.chance(70) || over.is_empty() { new } else { over };
                self.does(Op::Rename(dir, to));
            }
            71..73 => self.exchange(),
            73..76 => drop(self.does(Op::Link(file, new))),
            76..80 => drop(self.chmod(&any)),
            80..82 => {
                let owner = self.fresh();
                self.does(Op::Chown(any, owner));
            }
            82..84 => {
                let value = self.fresh();
                self.does(Op::SetXattr(any, value));
            }
            84..91 => drop(self.fsync(&file)),
            91..98 => drop(self.fsync(&dir)),
            98 if self.dice.chance(50) => drop(self.discard(&[""], &[""])),
            98 => drop(self.does(Op::Sync)),
            _ => drop(self.meanwhile()),
        }
    }

    fn exchange(&mut self) {
        let one = self.existing(|_| true);
        let other = self.existing(|_| true);
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
        if !inside(&one, &other) && !inside(&other, &one) {
            self.does(Op::Exchange(one, other));
        }
    }

    fn size(&mut self) -> usize {
        let most = *self.dice.pick(&[200, 5000, 20_000]).unwrap_or(&200);
        1 + self.dice.below(most)
    }

    /// A path of some object that is there; empty if there is none.
    fn existing(&mut self, wanted: impl Fn(&Kind) -> bool) -> String {
        let tree = self.history.last();
        let fits = |id: &Id| tree.objects.get(id).is_some_and(|object| wanted(&object.kind));
        let paths = tree.paths();
        let paths: Vec<String> =
            paths.into_iter().filter(|(_, id)| fits(id)).map(|(path, _)| path).collect();
        self.dice.pick(&paths).cloned().unwrap_or_default()
    }

    /// A path for something, in a directory that is there.
    fn new_name(&mut self) -> String {
        let dir = match self.dice.chance(30) {
            true => String::new(),
            false => self.existing(|kind| matches!(kind, Kind::Dir(_))) + "/",
        };
        let names = ["a", "b", "f", "g", "l1", "l2", "p", "s", "z", "new", "n1", "n2"];
        let name = self.dice.pick(&names).copied().unwrap_or("a");
        if dir == "/" { name.to_owned() } else { format!("{dir}{name}") }
    }
}
