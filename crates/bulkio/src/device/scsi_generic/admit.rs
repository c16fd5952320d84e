//! [`admit`]: asks a device for its facts before it is used, and refuses what is no disk that this library can use, or not in this way.
//!
//! Nothing is written.

use std::path::Path;

use super::error::OpenError;
use super::facts::DiskFacts;
use super::options::DiskOptions;
use crate::device::scsi::{Cdb, Inquiry, Transport, order};

/// Asks the device for its facts, and refuses what is no disk that this library can use.
pub(super) fn admit(
    transport: &dyn Transport,
    path: &Path,
    options: &DiskOptions,
) -> Result<DiskFacts, OpenError> {
    let command = |source| OpenError::Command { path: path.to_owned(), source };
    let inquiry = Inquiry::ask(transport, options.timeout).map_err(command)?;
    if !inquiry.is_connected || !inquiry.kind.is_disk() {
        return Err(OpenError::NotADisk { path: path.to_owned(), kind: inquiry.kind });
    }
    // Takes what the unit had to tell, so that it is not taken for news later; and says whether there is a medium.
    order(transport, &Cdb::test_unit_ready(), options.timeout).map_err(command)?;
    let facts = DiskFacts::ask(transport, inquiry, options.timeout).map_err(command)?;
    let (blocks, block_bytes) = (facts.blocks, facts.block_bytes);
    if blocks == 0 || block_bytes == 0 {
        return Err(OpenError::Capacity { path: path.to_owned(), blocks, block_bytes });
    }
    if facts.protection != 0 {
        let protection = facts.protection;
        return Err(OpenError::Protected { path: path.to_owned(), protection, block_bytes });
    }
    if options.writes && facts.is_write_protected == Some(true) {
        return Err(OpenError::WriteProtected { path: path.to_owned() });
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::scsi::{PeripheralType, ScsiStatus};
    use crate::device::scsi_generic::fake::{FakeDisk, Identity, Scripted, sense};

    const PATH: &str = "/dev/sdx";

    fn admit_as(identity: Identity, writes: bool) -> Result<DiskFacts, OpenError> {
        let disk = FakeDisk::new(64);
        disk.state().identity = identity;
        admit(&disk, Path::new(PATH), &DiskOptions { writes, ..DiskOptions::default() })
    }

    #[test]
    fn a_disk_is_known_by_its_answers() {
        let facts = admit_as(Identity::default(), true).unwrap();
        assert_eq!((facts.blocks, facts.block_bytes, facts.physical_block_bytes), (64, 512, 4096));
        assert_eq!((facts.knows_16, facts.is_write_protected), (true, Some(false)));
        assert_eq!(facts.serial.as_deref(), Some("S1"));
        assert_eq!((&*facts.inquiry.vendor, facts.block_limits.transfer_blocks_max), ("FAKE", 32));
        // An old one, which knows the short forms alone; one that knows the long form of the mode header alone.
        let old = Identity { version: 2, knows_capacity_16: false, ..Identity::default() };
        let facts = admit_as(old, true).unwrap();
        assert_eq!((facts.blocks, facts.knows_16), (64, false));
        // A newer one that does not know what it should.
        let facts = admit_as(Identity { version: 6, ..old }, true).unwrap();
        assert_eq!((facts.blocks, facts.knows_16), (64, false));
        let facts = admit_as(Identity { knows_mode_6: false, ..Identity::default() }, true).unwrap();
        assert_eq!(facts.is_write_protected, Some(false));
    }

    #[test]
    fn what_the_unit_had_to_tell_is_taken() {
        let disk = FakeDisk::new(64);
        // INQUIRY is answered whatever there is to tell; the next commands are not.
        let told = [sense(6, 0x29, 0, None), sense(6, 0x3f, 0x0e, None), sense(2, 4, 1, None)];
        disk.state().script.push_back(Scripted::ShortBy(0));
        disk.state().script.extend(told.map(Scripted::Answer));
        admit(&disk, Path::new(PATH), &DiskOptions::default()).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_numbers() {
        let path = Path::new(PATH).to_owned();
        let identity = Identity::default();
        let refused = |identity, writes| admit_as(identity, writes).unwrap_err();
        let tape = refused(Identity { kind: 0x01, ..identity }, false);
        assert_eq!(tape, OpenError::NotADisk { path: path.clone(), kind: PeripheralType::TAPE });
        // Peripheral qualifier 1: the unit is not there.
        let away = refused(Identity { kind: 0x20, ..identity }, false);
        assert_eq!(away, OpenError::NotADisk { path: path.clone(), kind: PeripheralType::DISK });
        let protected = refused(Identity { protection: 0b0001, ..identity }, false);
        assert_eq!(protected, OpenError::Protected { path: path.clone(), protection: 1, block_bytes: 512 });
        let empty = refused(Identity { block_bytes: 0, ..identity }, false);
        assert_eq!(empty, OpenError::Capacity { path: path.clone(), blocks: 64, block_bytes: 0 });
        let locked = Identity { is_write_protected: true, ..identity };
        assert_eq!(refused(locked, true), OpenError::WriteProtected { path: path.clone() });
        assert_eq!(
            refused(Identity { knows_mode_6: false, ..locked }, true),
            OpenError::WriteProtected { path }
        );
        assert_eq!(admit_as(locked, false).unwrap().is_write_protected, Some(true));
    }

    #[test]
    fn a_drive_without_a_medium_says_so() {
        let disk = FakeDisk::new(64);
        disk.state().script.extend([Scripted::ShortBy(0), Scripted::Answer(sense(2, 0x3a, 1, None))]);
        let refused = admit(&disk, Path::new(PATH), &DiskOptions::default()).unwrap_err();
        let OpenError::Command { source, .. } = &refused else { panic!("{refused}") };
        assert!(source.status().is_some_and(ScsiStatus::is_no_medium));
        let words =
            "/dev/sdx: TEST UNIT READY, try 1: not ready: no medium, the tray is closed (sense 2/3a/01)";
        assert_eq!(refused.to_string(), words);
    }
}
