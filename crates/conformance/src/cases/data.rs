//! Calls on data.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, SeekFrom as Position, StatxAttributes, StatxFlags, ftruncate,
    ioctl_ficlone, openat, seek, statx,
};
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::pipe::{SpliceFlags, splice};

use crate::kit::{
    Outcome, Place, append, content, create, differ, ensure, failed, open, open_rw, read_at,
    refused, same, stat, write_at,
};
use crate::sys::{Mapping, spawn};
use crate::tree::SPARSE;

super::cases!("data";
    truncation_to_every_size, opening_with_truncation, a_gap_reads_as_zeros, far_offsets,
    access_modes_of_descriptors, direct_io_on_a_base_file, direct_io_on_a_new_file,
    direct_io_beside_a_mapping, appends_of_several_processes, holes_in_the_base,
    holes_stay_through_a_copy_up, holes_of_a_new_file, copy_file_range_from_a_base_file,
    copy_file_range_within_a_file, splice_from_and_to_files, sendfile_of_a_base_file,
    mapped_writes_to_a_base_file, mapped_writes_persist, private_mapped_writes_stay_private,
    truncation_while_mapped, reflink_or_the_native_error, birth_time_of_a_new_file,
    birth_time_of_a_base_file, statx_masks, syncing, advice, file_size_limit,
);

fn truncation_to_every_size(place: &Place) -> Outcome {
    for (name, size) in [("f", 0), ("g", 3), ("dir/a", 5000), ("shared", 12)] {
        let mut expected = fs::read(place.at(name))?;
        expected.resize(size, 0);
        ftruncate(open_rw(place.at(name))?, size as u64)?;
        same(name, fs::read(place.at(name))?, expected)?;
        same("size", stat(place.at(name))?.len(), size as u64)?;
    }
    Ok(())
}

fn opening_with_truncation(place: &Place) -> Outcome {
    let mut file = OpenOptions::new().write(true).truncate(true).open(place.at("f"))?;
    same("size", stat(place.at("f"))?.len(), 0)?;
    file.write_all(b"new")?;
    same("content", fs::read(place.at("f"))?, b"new".to_vec())
}

fn a_gap_reads_as_zeros(place: &Place) -> Outcome {
    write_at(place.at("g"), 10_000, b"end")?;
    let text = fs::read(place.at("g"))?;
    same("size", text.len(), 10_003)?;
    ensure(text.starts_with(b"second\n\0\0") && text.ends_with(b"\0end"), "content")?;
    ensure(text.iter().skip(7).take(9993).all(|&byte| byte == 0), "the gap is not zero")
}

fn far_offsets(place: &Place) -> Outcome {
    let file = open_rw(place.at("g"))?;
    file.write_all_at(b"far", 1 << 40)?;
    same("content", read_at(&file, 1 << 40, 10)?, b"far".to_vec())?;
    same("size", file.metadata()?.len(), (1 << 40) + 3)?;
    ensure(file.metadata()?.blocks() < 1000, "it takes space")?;
    refused(ftruncate(&file, i64::MAX as u64), Errno::FBIG)?;
    refused(seek(&file, Position::Current(-1)), Errno::INVAL)
}

fn access_modes_of_descriptors(place: &Place) -> Outcome {
    refused(open(place.at("f"))?.write(b"x"), Errno::BADF)?;
    let mut writer = OpenOptions::new().write(true).open(place.at("f"))?;
    refused(writer.read(&mut [0]), Errno::BADF)?;
    refused(ftruncate(open(place.at("f"))?, 0), Errno::INVAL)?;
    refused(Mapping::new(open(place.at("f"))?, 10, true, MapFlags::SHARED).map(drop), Errno::ACCESS)
}

fn direct(place: &Place, name: &str) -> Result<File, std::io::Error> {
    let flags = libc::O_DIRECT;
    OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(place.at(name))
}

/// A part of `space` that begins where direct I/O wants it.
fn aligned(space: &mut [u8]) -> &mut [u8] {
    let skip = space.as_ptr().align_offset(4096);
    space.get_mut(skip..skip + 4096).unwrap_or_default()
}

fn direct_io(place: &Place, name: &str) -> Outcome {
    let file = direct(place, name)?;
    let mut space = vec![0; 8192];
    let block = aligned(&mut space);
    block.fill(b'd');
    same("written", file.write_at(block, 4096)?, 4096)?;
    same("buffered read", read_at(&open(place.at(name))?, 4096, 4096)?, block.to_vec())?;
    write_at(place.at(name), 4096, b"buffered")?;
    block.fill(0);
    same("direct read", file.read_at(block, 4096)?, 4096)?;
    ensure(block.starts_with(b"bufferedddd"), "direct reading does not see a buffered write")
}

fn direct_io_on_a_base_file(place: &Place) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let reader: File = openat(CWD, place.at("f"), flags, Mode::empty())?.into();
    let mut space = vec![0; 8192];
    same("read", reader.read_at(aligned(&mut space), 0)?, 4096)?;
    same("content", aligned(&mut space).to_vec(), content()[..4096].to_vec())?;
    direct_io(place, "f")?;
    same("read", reader.read_at(aligned(&mut space), 4096)?, 4096)?;
    ensure(aligned(&mut space).starts_with(b"buffered"), "the old descriptor sees old data")
}

fn direct_io_on_a_new_file(place: &Place) -> Outcome {
    direct_io(place, "dir/new")
}

fn direct_io_beside_a_mapping(place: &Place) -> Outcome {
    let mapping = Mapping::shared(open(place.at("f"))?, 20_000)?;
    same("before", mapping.byte(0), b'a')?;
    let file = direct(place, "f")?;
    let mut space = vec![b'd'; 8192];
    same("written", file.write_at(aligned(&mut space), 0)?, 4096)?;
    same("mapped", mapping.bytes(0, 4), b"dddd".to_vec())
}

fn appends_of_several_processes(place: &Place) -> Outcome {
    let processes: Vec<_> = (0..4)
        .map(|writer| {
            let path = place.at("g");
            spawn(move || {
                let mut log = OpenOptions::new().append(true).open(path)?;
                for line in 0..200 {
                    log.write_all(format!("writer {writer} line {line:03}\n").as_bytes())?;
                }
                Ok(())
            })
        })
        .collect();
    for process in processes {
        process?.join()?;
    }
    let text = fs::read_to_string(place.at("g"))?;
    let mut lines: Vec<_> = text.lines().skip(1).collect();
    same("lines", lines.len(), 800)?;
    lines.sort_unstable();
    lines.dedup();
    same("different lines", lines.len(), 800)
}

/// Where data and holes are: pairs of begin and end of data.
fn data_parts(file: &File) -> Result<Vec<(u64, u64)>, std::io::Error> {
    let (mut parts, mut at) = (Vec::new(), 0);
    loop {
        match seek(file, Position::Data(at)) {
            Ok(begin) => {
                at = seek(file, Position::Hole(begin))?;
                parts.push((begin, at));
            }
            Err(Errno::NXIO) => return Ok(parts),
            Err(error) => return Err(error.into()),
        }
    }
}

fn holes_in_the_base(place: &Place) -> Outcome {
    let file = open(place.at("sparse"))?;
    let half = SPARSE / 2;
    same("data", data_parts(&file)?, vec![(0, 4096), (half, half + 4096)])?;
    ensure(file.metadata()?.blocks() <= 64, "the holes take space")?;
    refused(seek(&file, Position::Data(SPARSE)), Errno::NXIO)
}

fn holes_stay_through_a_copy_up(place: &Place) -> Outcome {
    let held = open(place.at("sparse"))?;
    write_at(place.at("sparse"), 10, b"x")?;
    let half = SPARSE / 2;
    let parts = vec![(0, 4096), (half, half + 4096)];
    same("data", data_parts(&open(place.at("sparse"))?)?, parts.clone())?;
    same("data by the old descriptor", data_parts(&held)?, parts)?;
    let blocks = stat(place.at("sparse"))?.blocks();
    ensure(blocks <= 64, &format!("{blocks} blocks are used"))
}

fn holes_of_a_new_file(place: &Place) -> Outcome {
    let file = create(place.at("dir/new"))?;
    file.set_len(1 << 20)?;
    same("empty", data_parts(&file)?, vec![])?;
    file.write_all_at(&[1; 4096], 512 << 10)?;
    same("data", data_parts(&file)?, vec![(512 << 10, (512 << 10) + 4096)])
}

fn copy_file_range_from_a_base_file(place: &Place) -> Outcome {
    let (from, to) = (open(place.at("f"))?, create(place.at("dir/new"))?);
    let (mut offset, mut copied) = (100, 0);
    while copied < 15_000 {
        let some =
            rustix::fs::copy_file_range(&from, Some(&mut offset), &to, None, 15_000 - copied)?;
        ensure(some > 0, "it ends early")?;
        copied += some;
    }
    same("content", fs::read(place.at("dir/new"))?, content()[100..15_100].to_vec())?;
    let onto = open_rw(place.at("g"))?;
    rustix::fs::copy_file_range(&to, Some(&mut 0), &onto, Some(&mut 3), 4)?;
    let expected = [b"sec", &content()[100..104]].concat();
    same("into a base file", fs::read(place.at("g"))?, expected)
}

fn copy_file_range_within_a_file(place: &Place) -> Outcome {
    let file = open_rw(place.at("f"))?;
    let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &file, Some(&mut 10_000), 26)?;
    same("copied", copied, 26)?;
    same("content", read_at(&file, 10_000, 26)?, content()[..26].to_vec())?;
    let overlap = rustix::fs::copy_file_range(&file, Some(&mut 0), &file, Some(&mut 10), 26);
    refused(overlap, Errno::INVAL)
}

fn splice_from_and_to_files(place: &Place) -> Outcome {
    let (reader, writer) = rustix::pipe::pipe()?;
    let from = open(place.at("f"))?;
    same("in", splice(&from, Some(&mut 50), &writer, None, 4000, SpliceFlags::empty())?, 4000)?;
    let to = open_rw(place.at("g"))?;
    same("out", splice(&reader, None, &to, Some(&mut 7), 4000, SpliceFlags::empty())?, 4000)?;
    let expected = [b"second\n".as_slice(), &content()[50..4050]].concat();
    same("content", fs::read(place.at("g"))?, expected)
}

fn sendfile_of_a_base_file(place: &Place) -> Outcome {
    let to = create(place.at("dir/new"))?;
    let sent = rustix::fs::sendfile(&to, open(place.at("f"))?, Some(&mut 10), 5000)?;
    same("sent", sent, 5000)?;
    same("content", fs::read(place.at("dir/new"))?, content()[10..5010].to_vec())
}

fn mapped_writes_to_a_base_file(place: &Place) -> Outcome {
    let file = open_rw(place.at("f"))?;
    let mapping = Mapping::new(&file, 20_000, true, MapFlags::SHARED)?;
    mapping.set(7, b'!');
    same("read before msync", read_at(&open(place.at("f"))?, 7, 1)?, b"!".to_vec())?;
    mapping.sync()?;
    same("read after msync", read_at(&file, 7, 1)?, b"!".to_vec())?;
    write_at(place.at("f"), 8, b"?")?;
    same("mapped", mapping.bytes(7, 2), b"!?".to_vec())
}

fn mapped_writes_persist(place: &Place) -> Outcome {
    let mapping = Mapping::new(open_rw(place.at("f"))?, 20_000, true, MapFlags::SHARED)?;
    mapping.set(9000, b'!');
    drop(mapping);
    place.drop_caches()?;
    same("content", read_at(&open(place.at("f"))?, 9000, 1)?, b"!".to_vec())
}

fn private_mapped_writes_stay_private(place: &Place) -> Outcome {
    let mapping = Mapping::new(open(place.at("f"))?, 20_000, true, MapFlags::PRIVATE)?;
    mapping.set(0, b'!');
    same("content", fs::read(place.at("f"))?, content())
}

fn truncation_while_mapped(place: &Place) -> Outcome {
    let mapping = Mapping::shared(open(place.at("f"))?, 20_000)?;
    same("before", mapping.byte(8192), b'a' + (8192 % 26) as u8)?;
    ftruncate(open_rw(place.at("f"))?, 100)?;
    same("zeros to the page's end", mapping.byte(101), 0)?;
    let status = spawn(|| same("beyond the end", mapping.byte(8192), 0))?.wait()?;
    same("signal", status.terminating_signal(), Some(libc::SIGBUS))?;
    ftruncate(open_rw(place.at("f"))?, 20_000)?;
    same("after growing again", mapping.byte(8192), 0)
}

fn reflink_or_the_native_error(place: &Place) -> Outcome {
    let to = create(place.at("dir/new"))?;
    match ioctl_ficlone(&to, open(place.at("f"))?) {
        Ok(()) => same("content", fs::read(place.at("dir/new"))?, content()),
        Err(Errno::OPNOTSUPP | Errno::XDEV) => Ok(()),
        Err(error) => failed(format!("{error:?}")),
    }
}

fn birth(place: &Place, name: &str) -> Result<(i64, u32), crate::kit::Failure> {
    let found = statx(CWD, place.at(name), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::ALL)?;
    if found.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return failed("no birth time");
    }
    Ok((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

fn birth_time_of_a_new_file(place: &Place) -> Outcome {
    create(place.at("dir/new"))?;
    let before = birth(place, "dir/new")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs() as i64);
    ensure((before.0 - now).abs() < 10, "it is not now")?;
    append(place.at("dir/new"), b"x")?;
    fs::rename(place.at("dir/new"), place.at("dir/newer"))?;
    same("later", birth(place, "dir/newer")?, before)
}

fn birth_time_of_a_base_file(place: &Place) -> Outcome {
    for name in ["f", "dir"] {
        let before = birth(place, name)?;
        crate::kit::chmod(place.at(name), 0o700)?;
        same(name, birth(place, name)?, before)?;
    }
    Ok(())
}

fn statx_masks(place: &Place) -> Outcome {
    let wanted = StatxFlags::BASIC_STATS;
    let found = statx(CWD, place.at("f"), AtFlags::empty(), wanted | StatxFlags::MNT_ID)?;
    same("basic", found.stx_mask & wanted.bits(), wanted.bits())?;
    differ("mount id bit", found.stx_mask & StatxFlags::MNT_ID.bits(), 0)?;
    let inode = statx(CWD, place.at("f"), AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    same("number", inode.stx_ino, stat(place.at("f"))?.ino())?;
    let root = statx(CWD, &place.dir, AtFlags::empty(), wanted)?;
    ensure(!root.stx_attributes.contains(StatxAttributes::MOUNT_ROOT), "not a mount's root")
}

fn syncing(place: &Place) -> Outcome {
    append(place.at("f"), b"x")?;
    create(place.at("dir/new"))?;
    for name in ["f", "g", "dir", "empty", "dir/new", ""] {
        let file = open(place.at(name))?;
        file.sync_all()?;
        file.sync_data()?;
        rustix::fs::syncfs(&file)?;
    }
    let written = open_rw(place.at("f"))?;
    written.write_all_at(b"y", 0)?;
    written.sync_data()?;
    refused(rustix::fs::fsync(std::io::pipe()?.0), Errno::INVAL)
}

fn advice(place: &Place) -> Outcome {
    let mut file = open_rw(place.at("f"))?;
    for advice in
        [rustix::fs::Advice::Sequential, rustix::fs::Advice::WillNeed, rustix::fs::Advice::DontNeed]
    {
        rustix::fs::fadvise(&file, 0, None, advice)?;
    }
    file.write_all(b"x")?;
    file.seek(SeekFrom::Start(0))?;
    let mut first = [0; 2];
    file.read_exact(&mut first)?;
    same("content", first, *b"xb")
}

fn file_size_limit(place: &Place) -> Outcome {
    spawn(|| {
        let limit = rustix::process::Rlimit { current: Some(30_000), maximum: Some(30_000) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)?;
        append(place.at("f"), &[b'x'; 15_000])
            .err()
            .map_or(Ok(()), |e| failed(format!("{e} instead of a signal")))
    })?
    .wait()
    .and_then(|status| same("signal", status.terminating_signal(), Some(libc::SIGXFSZ)))?;
    ensure(stat(place.at("f"))?.len() <= 30_000, "the limit is passed")
}
