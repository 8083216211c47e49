//! What errors are about, for exit codes.

use super::OpenError;

/// What an [`OpenError`] is about, for exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The base.
    Base,
    /// The storage.
    Storage,
    /// The storage is used by another mount.
    InUse,
    /// The storage belongs to another base.
    OtherBase,
    /// Base, storage and mount point lie inside each other.
    Nested,
    /// Something else.
    Other,
}

impl OpenError {
    /// What the error is about.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            OpenError::BaseMissing { .. }
            | OpenError::BaseNotDirectory { .. }
            | OpenError::BaseInCommit { .. }
            | OpenError::BaseUnreadable { .. }
            | OpenError::TooManyLayers { .. }
            | OpenError::FewDescriptors { .. }
            | OpenError::LiveLayers
            | OpenError::LayerWithoutBase { .. }
            | OpenError::NotStorage { .. }
            | OpenError::LayerFromElsewhere { .. }
            | OpenError::LayerBaseReplaced { .. }
            | OpenError::LayersInCircle { .. }
            | OpenError::LayerFeature { .. }
            | OpenError::LayerFar { .. }
            | OpenError::BaseUnreachable { .. } => ErrorClass::Base,
            OpenError::StorageMissing { .. }
            | OpenError::CommitUnfinished { .. }
            | OpenError::StorageNeeded
            | OpenError::OtherMetaName { .. }
            | OpenError::MetaNameTaken { .. }
            | OpenError::MetaNameUnfit { .. }
            | OpenError::NothingToCheck { .. }
            | OpenError::StorageUnreachable { .. }
            | OpenError::StorageNotDirectory { .. }
            | OpenError::StorageNotWritable { .. }
            | OpenError::StorageCopied { .. }
            | OpenError::StorageImmutable { .. }
            | OpenError::StorageReadOnly { .. }
            | OpenError::StorageForeign { .. }
            | OpenError::StoragePoor { .. }
            | OpenError::StorageNames { .. }
            | OpenError::StorageWritable { .. }
            | OpenError::StorageUnknown { .. }
            | OpenError::StorageUnclosable { .. }
            | OpenError::Foreign { .. }
            | OpenError::OldMarksOpen { .. }
            | OpenError::OldMarks { .. }
            | OpenError::AttributesLost { .. } => ErrorClass::Storage,
            OpenError::StorageInUse { .. } => ErrorClass::InUse,
            OpenError::OtherBase { .. } | OpenError::OtherLayers { .. } => ErrorClass::OtherBase,
            OpenError::SameDirectory { .. }
            | OpenError::BaseInsideStorage { .. }
            | OpenError::MountpointInsideStorage { .. }
            | OpenError::MountpointInsideBase { .. } => ErrorClass::Nested,
            OpenError::Io { .. } => ErrorClass::Other,
        }
    }
}
