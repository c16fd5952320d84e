//! [`CLASSES`]: the classes of misuse that the checker tells, by name, and what one planted mistake of each makes it tell.
//!
//! The kernel plants the mistakes and names what was found, the host judges: both by this list. That it holds every class of
//! [`Finding`] is tested against the source of the enum, since a `match` over it must have a wildcard.

use scatterlist::map::checked::Finding;

/// A class of misuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// The name of the finding, in kebab case.
    pub name: &'static str,
    /// What else the ledger tells of such a mistake, always and before it; empty for most.
    ///
    /// A sync for the CPU of what the device only reads is found by its direction, which is told too; and so the other way round.
    pub with: &'static [&'static str],
}

macro_rules! classes {
    ($($finding:ident $name:literal $([$($with:literal),*])?,)*) => {
        /// All classes.
        pub const CLASSES: &[Class] = &[$(Class { name: $name, with: &[$($($with),*)?] },)*];

        /// Returns the name of the class of a finding; `None` where the list is older than the checker.
        #[must_use]
        pub const fn class_of(finding: &Finding) -> Option<&'static str> {
            match finding {
                $(Finding::$finding { .. } => Some($name),)*
                _ => None,
            }
        }
    };
}

classes! {
    SpanUnsound "span-unsound",
    MapEmpty "map-empty",
    MapBytes "map-bytes",
    MapRegion "map-region",
    MapLimit "map-limit",
    MapOffset "map-offset",
    LineShared "line-shared",
    LineOverlaps "line-overlaps",
    RecordFull "record-full",
    UnmapError "unmap-error",
    UnmapUnknown "unmap-unknown",
    UnmapLen "unmap-len",
    UnmapKind "unmap-kind",
    UnmapCpuAddr "unmap-cpu-addr",
    UnmapEntries "unmap-entries",
    UnmapDirection "unmap-direction",
    ErrorUnchecked "error-unchecked",
    Leaked "leaked",
    OtherMemory "other-memory",
    DroppedInFlight "dropped-in-flight",
    SyncUnknown "sync-unknown",
    SyncRange "sync-range",
    SyncDirection "sync-direction",
    SyncReadOnly "sync-read-only" ["sync-direction"],
    SyncWriteOnly "sync-write-only" ["sync-direction"],
    SyncEntries "sync-entries",
    DeviceUnmapped "device-unmapped",
    DeviceOutside "device-outside",
    DeviceDirection "device-direction",
    CpuWrote "cpu-wrote",
    CpuReadUnsynced "cpu-read-unsynced",
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    /// Reads the variants from the source, each as its name in kebab case.
    fn variants(source: &str) -> Vec<String> {
        let (_, from) = source.split_once("pub enum Finding {").expect("the enum");
        let (body, _) = from.split_once("\n}").expect("its end");
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let named = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        named
            .map(|line| {
                let mut kebab = String::new();
                for letter in line.chars().take_while(char::is_ascii_alphanumeric) {
                    if letter.is_ascii_uppercase() && !kebab.is_empty() {
                        kebab.push('-');
                    }
                    kebab.push(letter.to_ascii_lowercase());
                }
                kebab
            })
            .collect()
    }

    #[test]
    fn every_finding_of_the_checker_has_a_class_and_no_other() {
        let source = include_str!("../../crates/scatterlist/src/map/checked/finding.rs");
        let classes: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        assert_eq!(variants(source), classes);
        let known = |name: &&str| classes.contains(name);
        assert!(CLASSES.iter().flat_map(|class| class.with).all(known));
    }
}
