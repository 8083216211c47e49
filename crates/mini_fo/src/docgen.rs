//! Writes the man pages and shell completions: `docgen DIR`.
//!
//! All of them come from the definitions that the program itself reads: the
//! command line (`cli/args.rs`), the options (`options.rs`) and the exit codes
//! (`exit.rs`).
#![forbid(unsafe_code)]

#[path = "cli/args.rs"]
#[allow(dead_code)]
mod args;
mod completions;
#[allow(dead_code)]
mod exit;
#[allow(dead_code)]
mod options;
mod scripts_args;

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: docgen DIR"));
    };
    let (man, scripts) = (Path::new(&dir).join("man"), Path::new(&dir).join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&scripts)?;
    let mut cli = args::Cli::command();
    cli.build();
    fs::write(man.join("mini_fo.1"), page(&cli, "mini_fo", "")?)?;
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("mini_fo-{}", command.get_name());
        let more = more(command.get_name());
        fs::write(man.join(format!("{name}.1")), page(command, &name, &more)?)?;
    }
    for script in [scripts_args::OverlayArgs::command(), scripts_args::MergeArgs::command()] {
        let name = script.get_name().to_owned();
        fs::write(man.join(format!("{name}.1")), page(&script, &name, "")?)?;
    }
    fs::write(man.join("mount.mini_fo.8"), helper_page())?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let more = match shell {
            Shell::Bash => completions::bash,
            Shell::Zsh => completions::zsh,
            _ => completions::fish,
        };
        let script = clap_complete::generate_to(shell, &mut cli, "mini_fo", &scripts)?;
        fs::write(&script, more(&fs::read_to_string(&script)?))?;
    }
    Ok(())
}

/// The man page of a command: what clap knows, then the sections of ours.
fn page(command: &Command, name: &str, more: &str) -> io::Result<Vec<u8>> {
    // Of a command the name with a hyphen is the page's; the usage keeps the blank.
    let is_program = command.get_name() == name;
    let usage = if is_program { name.to_owned() } else { name.replacen('-', " ", 1) };
    // clap wants names that live for ever; there are few of them.
    let page: &'static str = Box::leak(name.into());
    let titled = command.clone().name(page).display_name(page);
    let titled = titled.bin_name(usage);
    let man =
        Man::new(titled).manual("mini_fo").source(concat!("mini_fo ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        out.extend(subcommands(command).bytes());
    }
    out.extend_from_slice(more.as_bytes());
    out.extend(
        exit_codes(exit::meanings_of(command.get_name()), exit::codes_of(command.get_name()))
            .bytes(),
    );
    out.extend(FILES.bytes());
    out.extend(see_also(name).bytes());
    Ok(out)
}

fn subcommands(command: &Command) -> String {
    let mut out = String::from(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let about = sub.get_about().map_or_else(String::new, ToString::to_string);
        out += &item(&format!("mini_fo\\-{}(1)", sub.get_name()), &about);
    }
    out + EXAMPLES
}

/// Sections that only one command has.
fn more(command: &str) -> String {
    match command {
        "mount" => mount_options() + MOUNT_NOTES + EXAMPLES,
        "umount" => UMOUNT_NOTES.to_owned(),
        "list" => LIST_NOTES.to_owned(),
        "check" => CHECK_NOTES.to_owned(),
        "du" => DU_NOTES.to_owned(),
        "status" => STATUS_NOTES.to_owned(),
        "diff" => DIFF_NOTES.to_owned(),
        "discard" => DISCARD_NOTES.to_owned(),
        "commit" => COMMIT_NOTES.to_owned(),
        "review" => REVIEW_NOTES.to_owned(),
        "run" => RUN_NOTES.to_owned(),
        "init" => INIT_NOTES.to_owned(),
        "shutdown" => SHUTDOWN_NOTES.to_owned(),
        _ => String::new(),
    }
}

fn exit_codes(meanings: &[(u8, &str)], only: &[u8]) -> String {
    let shown = meanings.iter().filter(|(code, _)| only.is_empty() || only.contains(code));
    shown.fold(".SH EXIT STATUS\n".to_owned(), |out, (code, meaning)| {
        out + &item(&code.to_string(), meaning)
    })
}

fn mount_options() -> String {
    let mut out = String::from(
        ".SH MOUNT OPTIONS\n\
         Separated by commas; a later one wins. In a value \\fB\\e,\\fR stands for a comma and\n\
         \\fB\\e\\e\\fR for a backslash.\n",
    );
    for spec in options::SPECS.iter().filter(|spec| !spec.help.is_empty()) {
        out += &item(&spec.written(), spec.help);
    }
    out += ".PP\nAccepted and without effect, or told by mount(8) alone:\n";
    let ignored = options::SPECS.iter().filter(|spec| spec.help.is_empty());
    let names: Vec<String> =
        ignored
            .map(|spec| {
                if spec.name.ends_with('-') { format!("{}*", spec.name) } else { spec.name.into() }
            })
            .collect();
    out + &roff(&names.join(", ")) + ".\n"
}

fn helper_page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH mount.mini_fo 8 \"\" \"mini_fo {version}\" \"mini_fo\"\n{HELPER_TOP}")
        + &mount_options()
        + HELPER_NOTES
        + &exit_codes(exit::HELPER_MEANINGS, &[])
        + FILES
        + &see_also("mount.mini_fo")
}

fn see_also(name: &str) -> String {
    let pages = [
        ("mini_fo", 1),
        ("mini_fo-check", 1),
        ("mini_fo-commit", 1),
        ("mini_fo-discard", 1),
        ("mini_fo-du", 1),
        ("mini_fo-init", 1),
        ("mini_fo-list", 1),
        ("mini_fo-merge", 1),
        ("mini_fo-mount", 1),
        ("mini_fo-overlay", 1),
        ("mini_fo-review", 1),
        ("mini_fo-rm", 1),
        ("mini_fo-run", 1),
        ("mini_fo-shutdown", 1),
        ("mini_fo-umount", 1),
        ("mount.mini_fo", 8),
        ("fstab", 5),
        ("mount", 8),
    ];
    let others = pages.iter().filter(|(page, _)| *page != name);
    let list: Vec<String> =
        others.map(|(page, section)| format!("\\fB{}\\fR({section})", roff(page))).collect();
    format!(".SH SEE ALSO\n{}\n", list.join(",\n"))
}

/// A tagged paragraph.
fn item(tag: &str, text: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{}\n", tag.replace("\\-", "-").replace('-', "\\-"), roff(text))
}

/// Plain text as roff source.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A dot or quote at the beginning of a line would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

const EXAMPLES: &str = r".SH EXAMPLES
A CD becomes writable; the changes lie in /home/ann/changes:
.PP
.nf
.RS
mkdir /home/ann/changes /home/ann/cd
mini_fo mount /media/cdrom /home/ann/cd \-\-storage /home/ann/changes
mini_fo umount /home/ann/cd
.RE
.fi
.PP
The same with the command line of 2005, as root, and as a line of /etc/fstab:
.PP
.nf
.RS
mount \-t mini_fo \-o base=/b,sto=/s /b /mnt
/b  /mnt  mini_fo  base=/b,sto=/s,noatime  0  0
.RE
.fi
.PP
Back to the factory state: unmount, then empty the storage:
.PP
.nf
.RS
mini_fo umount /mnt && find /s \-mindepth 1 \-delete
.RE
.fi
";

const FILES: &str = r".SH FILES
.TP
\fI/run/mini_fo\fR, \fI$XDG_RUNTIME_DIR/mini_fo\fR, \fI/tmp/mini_fo\-UID\fR
Records of the live mounts of root and of other users.
.TP
\fIMETA_dAfFgHE39ktF3HD2sr\fR
In directories of the storage: what files cannot say (deleted and renamed
entries). It is not shown in the mount, and names that begin so cannot be
created there. \fBmeta_name\fR gives it another name.
";

const RUN_NOTES: &str = r".SH NOTES
It keeps changes apart; it is no jail. The command reaches the network, sockets and processes
as any program of the user, and with \fB\-\-allow\fR what that names. Root can undo all of it.
.PP
\fB/proc\fR is that of the system, for root with its settings read\-only. \fB/sys\fR and
\fB/dev\fR are read\-only: devices and terminals work, and root has those alone that everybody
may use. \fB/dev/shm\fR is a new one. Sockets that programs listen on when the command begins
can be reached by their paths, and not be deleted; files of \fB/run\fR and \fB/tmp\fR are part
of the tree. For a user who is not root everything belongs to himself.
.PP
Where paths of \fB\-\-allow\fR, \fB\-\-hide\fR and \fB\-\-read\-only\fR lie in each other, the
deeper one counts. Allow directories rather than files: a program that replaces a file cannot
do so with one that is allowed alone.
.PP
Signals that are sent to \fBmini_fo run\fR are handed on to the command. If it is killed
(SIGKILL), so is the command; what has changed is kept.
.PP
With \fBcommit\fR at the end all changes are written into the base, or none. If the base has
something else than what was changed, they are kept, that is told, and the exit code is 125, as
with all that mini_fo itself cannot do. \fBmini_fo commit\fR goes on from there.
.PP
Where something that the command has started goes on in the tree, nothing is discarded or
committed: it is told which process that is.
.SH JSON
One object in a line: \fBstatus\fR, as a shell shows it; \fBsuccess\fR; \fBsignal\fR, or null;
\fBkept\fR, whether there are changes to go on with; \fBcommitted\fR, whether they were
committed; \fBin_use_by\fR, if somebody is still in the run; if they are kept \fBname\fR,
\fBstorage\fR and \fBcommands\fR, an object with \fBstatus\fR, \fBdiff\fR, \fBcommit\fR,
\fBdiscard\fR and \fBagain\fR. Numbers of
changes by their kinds, and \fBchanges\fR, an array of what \fBmini_fo status \-\-json\fR
prints. Where the command writes to standard output itself, name a FILE.
.SH EXIT CODES OF THE COMMAND
Its exit status is passed on, and if a signal has ended it, the same ends mini_fo.
.SH EXAMPLES
.nf
.RS
mini_fo run \-\- make install DESTDIR=/
mini_fo run \-\-on\-exit ask \-\- sh install.sh
mini_fo run \-\-allow . \-\-net none \-\- make test
mini_fo run \-\-base /srv/root \-\-storage /srv/changes \-\- /bin/bash
.RE
.fi
";

const DU_NOTES: &str = r".SH WHAT IS TOLD
A line for each entry of the uppermost levels (\fB--depth\fR) with what it and everything
below it takes, one for each of the largest files, and in brackets what is not in the tree:
base files with several names that were changed, META, what is kept for deletions, and
what an interrupted mount has left. A file of which only blocks were changed takes these.
.PP
A live mount is asked through the mount itself, so a directory of it is enough, in a chroot
or a container, too; its owner and root are answered.
.SH JSON
One object: \fBentries\fR and \fBlargest\fR, arrays of objects with \fBpath\fR (and
\fBpath_hex\fR, all bytes as hexadecimal digits, where it is no UTF-8), \fBbytes\fR,
\fBfiles\fR and \fBdirectories\fR; \fBtree\fR, \fBhard_links\fR, \fBrecords\fR,
\fBreserve\fR, \fBleftovers\fR and \fBdeleted\fR (files without a name that are still open),
objects with the last three of these; \fBbytes\fR, all together; \fBfree\fR, bytes that are free.
";

const CHECK_NOTES: &str = r".SH NOTES
One line for each thing found, by its path in the storage:
.IP \(bu 2
META lines that are damaged or unfinished, and unfinished work of a crash;
.IP \(bu 2
deleted entries that the base has not any more, renamed directories whose base
directory is gone, and entries whose type is another one in the base;
.IP \(bu 2
that the storage was made for another base, or that another file system is
where the base or a layer below it was;
.IP \(bu 2
names that begin with the name of META and are not mini_fo\(aqs own: they do not show.
.PP
None of it keeps the tree from being mounted, but for another base
(accept_base). What the storage holds wins. In storages of the 2005 module
entries that were never in the base count as gone.
";

const MOUNT_NOTES: &str = r".SH NOTES
The storage may not be changed by others while it is mounted, and the base only
with \fBlive_base\fR. The storage must belong to who mounts it; a mount for
writing closes it to others (mode 0700), for who owns a directory of the tree
owns its copy there. A directory that is not empty and does not look like a storage
is refused (\fBaccept_storage\fR). A mount that fails has written nothing to it.
.PP
Below a storage that is the lowest tree comes what it was made for. A copy of one, or
one in an image, could name any directory: there name what comes below it with
\fB\-\-under\fR. A copy whose META has a name of its own is not recognised, either: name
it with \fBdialect=mini_fo=\fINAME\fR.
.PP
Mounts of root are open to all users, and owners and modes are checked by the
kernel. Mounts of other users are open to themselves alone, unless
\fBallow_other\fR is given.
.PP
Mounts made on top of directories inside the base are not part of it: their
mount points show as the directories below them. Mount them again inside.
.PP
For root, the kernel's read\-ahead of the mount is raised to 1 MiB, and data of
storage files is read and written by the kernel itself (Linux 6.9).
.PP
The daemon of a mount by root is spared when memory is short (oom_score_adj
\-1000), and by systemd at shutdown (its command line begins with @).
.PP
Container engines: called as \fBfuse\-overlayfs\fR, or as \fBmini_fo \-o
lowerdir=\fIA\fR[\fB:\fIB\fR...][\fB,upperdir=\fIDIR\fB,workdir=\fIDIR\fR][\fB,\fIOPTIONS\fR]
\fIMOUNTPOINT\fR, the program takes the command line of fuse\-overlayfs(1) (\fB\-f\fR,
\fB\-\-debug\fR, \fBuidmapping\fR, \fBgidmapping\fR, \fBsquash_to_*\fR, \fBvolatile\fR,
\fBnoacl\fR, \fBcontext\fR); \fBxattr_permissions\fR, \fBredirect_dir\fR, \fBtimeout\fR,
\fBthreaded\fR, \fBfast_ino\fR, \fBwriteback\fR and \fBstatic_nlink\fR are accepted and
need nothing. The upper directory is the uppermost layer, and has the storage in it;
the options above work as well, and
unknown ones are passed over with a warning. The exit code of any failure is 1.
.PP
SIGTERM, SIGINT and SIGHUP make the daemon unmount, cleanly, and end. A mount that
is the root of its mount namespace stays, and is synced.
";

const UMOUNT_NOTES: &str = r".SH NOTES
When the command returns, the daemon has ended and the storage may be mounted
again, copied or emptied. With \fB\-\-lazy\fR it does not wait.
";

const LIST_NOTES: &str = r".SH OUTPUT
Without options, a paragraph for each mount. With \fB\-\-json\fR, an array of
objects, one for each mount, in no particular order. Members may be added.
.TP
\fBmountpoint\fR (string), \fBread_only\fR (true or false)
always there.
.TP
\fBstate\fR (string)
always there: \fBlive\fR; \fBdead\fR, its daemon has ended; \fBdetached\fR,
unmounted and still in use; \fBelsewhere\fR, in another mount namespace;
\fBforeign\fR, of somebody else.
.TP
\fBbase\fR, \fBstorage\fR (strings), \fBpid\fR (number), \fBsince\fR (string)
of the calling user\(aqs mounts: the layers, the daemon\(aqs process number, and when
it was mounted (UTC, as 2005\-06\-07T08:09:10Z).
.TP
\fBtransport\fR, \fBdata\fR, \fBfeatures\fR, \fBunused\fR (strings)
of the same: what \fB\-\-verbose\fR shows; empty if not known.
.PP
Paths are as they are: the JSON string of /a followed by a newline is \(dq/a\eu000a\(dq.
Where a path is not UTF\-8, each wrong byte is U+FFFD, and a further member
(\fBmountpoint_hex\fR, \fBbase_hex\fR, \fBstorage_hex\fR) has all its bytes in
hexadecimal digits. Without \fB\-\-json\fR control characters are written \eooo.
.PP
Then come the runs of mini_fo\-run(1) with what their storages take. In JSON they have
\fBrun\fR, the name, \fBbytes\fR, \fBbase\fR, \fBstorage\fR (the directory of the run),
\fBsince\fR, and the state \fBrunning\fR or \fBkept\fR; \fBmountpoint\fR is /.
";

const STATUS_NOTES: &str = r".SH OUTPUT
A word for each entry (added, modified, attributes, deleted, renamed, type), its path
and what differs; \(lqbase changed:\(rq and what of it, if the base has something else than
what the change was made from; a line with totals. Names are quoted as git does it. With
\fB\-z\fR a letter (A, M, P, D, R, T; ! for what cannot be read), a blank and the path,
ended by NUL; after what was renamed the old path.
.PP
On a terminal the text is in colours (unless \fBNO_COLOR\fR is set) and goes through
\fBPAGER\fR (less, with \fBLESS=FRX\fR unless that is set).
.SH JSON
One object a line, the last one with \fBkind\fR \(dqtotals\(dq. Members: \fBpath\fR,
\fBkind\fR, \fBfrom\fR (the path below of what it is compared with, if that is another
one), \fBcontent\fR, \fBattributes\fR, \fBxattrs\fR, \fBbefore\fR and \fBafter\fR
(\fBtype\fR, \fBmode\fR, \fBuid\fR, \fBgid\fR, \fBsize\fR, \fBmtime\fR, \fBino\fR,
\fBnlink\fR, \fBdevice\fR), \fBmore_names\fR, \fBbase\fR (same or changed; not there: unknown),
\fBbase_differs\fR, \fBerrno\fR, \fBerror\fR; all of them are told
in docs/CHANGES.md. Bytes that are no UTF\-8 show as U+FFFD; a second member
\fINAME\fR_hex has all bytes then.
.SH EXAMPLES
.nf
.RS
mini_fo status /srv/changes
mini_fo status \-\-base /var/lib/image /var/lib/upper
.RE
.fi
";

const DIFF_NOTES: &str = r".SH NOTES
\fBgit apply\fR makes of a copy of the base what a mount shows, with \fB\-\-binary\fR
also of binary files. Lines that begin with \(dqmini_fo: \(dq tell what git does not
know; git and patch(1) pass over them. Files of more than 8 MiB count as binary.
.PP
Colours and pager are those of mini_fo\-status(1).
";

const DISCARD_NOTES: &str = r".SH NOTES
A rename is one change: whichever end is named, both are as below. So is a file with several
names. What programs have open goes on as it is, as after unlink(2).
.PP
Where content is lost (added, modified, or of another type) a question is asked on a
terminal; without one \fB\-\-yes\fR is needed. What was deleted comes back, and attributes
go back, without a question.
.PP
What cannot go (a file with \fBchattr +i\fR) is named, the rest goes, and the exit status is 2.
What was interrupted is finished by the next mount or discard, which says so.
.SH JSON
One object a line for each change that goes, as \fBmini_fo status\fR has it; with \fBkind\fR
\(dqfailed\(dq, \fBpath\fR, \fBerrno\fR and \fBerror\fR for what could not; at the end
\fBkind\fR \(dqtotals\(dq with \fBdiscarded\fR, \fBcontent\fR (of these so many whose content
is lost), \fBkept\fR and \fBfailed\fR.
.SH EXAMPLES
.nf
.RS
mini_fo discard /mnt/etc/passwd
mini_fo discard \-\-all \-\-keep list /mnt
mini_fo discard \-\-yes /srv/changes etc/passwd
.RE
.fi
";

const COMMIT_NOTES: &str = r".SH NOTES
All or nothing: what is to come is made in a directory of the base, \fImeta_name\fR_stage,
which nobody else may enter, and brought to its places by renames; files are replaced whole,
with owner, mode, times, extended attributes, access lists, holes and hard links. Before that
the storage has it in writing, so that whatever interrupts it, the next \fBmini_fo commit\fR
finishes it and says so, or with \fB\-\-abort\fR takes it back. Until then the storage cannot
be mounted.
.PP
What belongs together goes or stays together: both ends of a rename, all names of a file,
directories that are new and what is in them. What goes along though it was not asked for,
and what is held back, is told.
.PP
Where the base has something else than what a change was made from, nothing is committed:
\fB\-\-ours\fR writes these changes over what the base has, \fB\-\-theirs\fR gives them up for
it, \fB\-\-except\fR leaves them in the storage.
.PP
While it is mounted, programs wait for the commit and go on. Files of the storage that are open
or mapped stay in the storage, and are told. What is made anew in the base has the number
(\fBst_ino\fR) of the new file from then on. Not of mounts that are read-only.
.PP
What you may not change in the base is told with its paths before anything is touched:
\fB\-\-except\fR leaves it in the storage. The root of the base need not be yours.
.PP
Before the base is written a question is asked on a terminal; without one \fB\-\-yes\fR is
needed. A base that other mounts show is refused: they must be unmounted first. On a terminal
a bar shows what is done of what takes longer.
.SH JSON
One object a line for each change that was asked for, or goes along, as \fBmini_fo status\fR has
it, with a further member \fBfate\fR: goes, follows, held, conflict or dropped; at the end
\fBkind\fR \(dqtotals\(dq with \fBcommitted\fR, \fBfollows\fR (of these so many that were not
asked for), \fBbytes\fR, \fBconflicts\fR, \fBdropped\fR, \fBheld\fR, \fBstays\fR and
\fBin_use\fR (of these so many that are open in a live mount).
.SH EXAMPLES
.nf
.RS
mini_fo commit /mnt/etc/passwd
mini_fo commit \-n /srv/changes
mini_fo commit \-\-except \(aq*.log\(aq /srv/changes etc var
mini_fo commit \-\-yes \-\-theirs /srv/changes
mini_fo commit \-\-abort /srv/changes
.RE
.fi
";

const REVIEW_NOTES: &str = r".SH NOTES
The address can be used once, by one browser, which then has a cookie. The page shows the
changed tree, to be searched and filtered by kind and size; texts side by side, PNG, JPEG, GIF
and WebP pictures before and after. \fB?\fR lists its keys: \fBj\fR and \fBk\fR move,
\fBEnter\fR shows, \fBd\fR marks for \fBmini_fo discard\fR, \fBK\fR what must stay, and
\fBa\fR applies, after a question that tells what goes. What has changed in between is not
touched: the tree is read again.
.PP
Nothing is kept open in the mount. A browser is opened by xdg\-open(1) where there is a display.
Ctrl\-C lets what is being done come to its end; a second one does not.
.SH EXAMPLES
.nf
.RS
mini_fo review /mnt
mini_fo review \-\-no\-open \-\-port 8080 /srv/changes
ssh \-L 8080:127.0.0.1:8080 host mini_fo review \-\-port 8080 /mnt
.RE
.fi
";

const INIT_NOTES: &str = r".SH SETTINGS
Words \fBmini_fo.\fIKEY\fR=\fIVALUE\fR of the kernel's command line, and lines
\fIKEY\fR=\fIVALUE\fR of \fI/etc/mini_fo.conf\fR on the root as it is (a # begins a
comment). The command line wins; paths to keep come from both.
.TP
\fBstorage=tmpfs\fR[\fB:\fISIZE\fR]
Changes go to memory, and are gone with the power. The default.
.TP
\fBstorage=LABEL=\fINAME\fR, \fBstorage=UUID=\fINUMBER\fR, \fBstorage=/dev/\fINAME\fR, each with [\fB:\fITYPE\fR[\fB:\fIOPTIONS\fR]]
Changes go to the directory mini_fo of this file system. Labels, UUIDs and types
of ext2, ext3, ext4, xfs, btrfs, f2fs and vfat are found out; others
(/dev/mtdblock3:jffs2, /dev/ubi0_1:ubifs) need the type.
.TP
\fBstorage=\fIPATH\fR
Changes go to the directory mini_fo in a directory that is there. If it lies on
the root itself, that is remounted read\-write.
.TP
\fBfallback=plain\fR|\fBtmpfs\fR
Without the storage the system runs on the root as it is, or with changes in memory.
.TP
\fBwait=\fISECONDS\fR
How long to wait for the device (10).
.TP
\fBfsck=auto\fR|\fByes\fR|\fBno\fR
Before it is mounted the file system is checked by fsck.\fITYPE\fR, where there is
one: with \-a, with \-y, or not. What is not repaired is not used.
.TP
\fBro\fR
The tree shows what was changed, but cannot be changed during this boot.
.TP
\fBreset\fR[\fB=\fIWORD\fR]
The storage is emptied, with a word only at the first boot that has it. The same
asks for it from inside: touch /etc/mini_fo.reset, and reboot.
.TP
\fBkeep=\fIPATH\fR[\fB:\fIPATH\fR]...
What a reset leaves as it is. Without room for a second copy of it there is no
reset.
.TP
\fBoptions=\fIOPTIONS\fR
Mount options of the overlay, see mini_fo\-mount(1).
.TP
\fBinit=\fIPATH\fR
What to execute (/sbin/init).
.SH NOTES
Whatever fails is told on the console, and the init is executed on the root as it
is. A value that is not understood is told and passed over.
.PP
What is mounted below the old root comes along (/dev, /proc, /sys, /run with what an
initramfs has left there, /usr); so do a /dev and a /run that were not mounted.
Do not mount another /run over it: it holds \fI/run/mini_fo/root/base\fR, the root
as it is, \fI/run/mini_fo/root/device\fR, the file system that holds the storage, and
what mini_fo\-list(1) knows.
.PP
The kernel is given \fBinit=/sbin/mini_fo\-init\fR, a link to mini_fo; words that it
does not know go to the real init.
";

const SHUTDOWN_NOTES: &str = r".SH NOTES
systemd calls it by /usr/lib/systemd/system\-shutdown/mini_fo.shutdown. For the
init of busybox, as the only line for the shutdown in /etc/inittab:
.PP
.nf
.RS
::shutdown:/usr/bin/mini_fo shutdown \-\-kill
.RE
.fi
.PP
Spared are process 1, daemons of mini_fo, and programs whose first argument begins
with @.
";

const HELPER_TOP: &str = r".SH NAME
mount.mini_fo \- make any read\-only tree writable
.SH SYNOPSIS
\fBmount \-t mini_fo \-o base=\fR\fIDIR\fR\fB,sto=\fR\fIDIR\fR[\fB,\fR\fIOPTIONS\fR] \fIDEVICE MOUNTPOINT\fR
.PP
\fBmount.mini_fo\fR \fIDEVICE MOUNTPOINT\fR [\fB\-sfnvrwh\fR] [\fB\-t\fR \fITYPE\fR] \fB\-o\fR \fIOPTIONS\fR
.SH DESCRIPTION
Called by \fBmount\fR(8), also for lines of /etc/fstab. Shows the tree below
\fBbase\fR at the mount point; every change goes to the directory \fBsto\fR.
The device is free text, shown in /proc/mounts.
.PP
\fB\-s\fR passes over unknown options, \fB\-f\fR checks the command line and does
nothing, \fB\-v\fR logs more, \fB\-n\fR and \fB\-N\fR are accepted.
";

const HELPER_NOTES: &str = r".SH REMOUNT
\fBmount \-o remount,ro \fR\fIMOUNTPOINT\fR changes the generic flags of the
live mount. After \fBremount,ro\fR nothing in the storage is open for writing, so
its own file system can be made read\-only next; after mount(2) without this helper
wait two seconds. \fBremount,rw\fR works also where it was mounted with \fBro\fR: the
daemon takes the storage for itself, puts in order what a crash has left, and goes on.
Where it cannot (another mount has the storage, or that is read\-only or damaged),
this command says so and the mount stays as it is; after mount(2) without this program
the first change fails, with EBUSY or EROFS, and the log tells why. With
\fBstays_ro\fR a mount is read\-only until it is unmounted.
.SH EXAMPLES
.nf
.RS
mount \-t mini_fo \-o base=/b,sto=/s /b /mnt
/b  /mnt  mini_fo  base=/b,sto=/s,noatime,nofail  0  0
.RE
.fi
";
