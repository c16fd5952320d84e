//! Which memory node a pool lies on, on machines that have several.
//!
//! `calls` has the system calls. A choice is a *preference* that the kernel is given before it allocates a page,
//! and then a count of where the pages are: a demanded node that got less than all is an error, a wanted one is
//! reported (rule `no-silent-fallback`). A strict binding (`MPOL_BIND`) would need no count, but on a node that
//! is full it has the kernel end processes.

mod calls;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;

use thiserror::Error;

use super::kind::OsError;
use super::mapping::{CallError, Mapping};

/// Most nodes that a kernel can have: `MAX_NUMNODES` at its greatest (`NODES_SHIFT` is at most 10).
const NODES_MAX: u32 = 1024;

/// Where the kernel's own tree is.
pub(super) const SYS: &str = "/sys";

/// The memory node that a pool should lie on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeChoice {
    /// Whichever the kernel takes: usually that of the CPU which makes the pool, page by page.
    #[default]
    Any,
    /// The node of the CPU that makes the pool, as far as it has memory; the report says how far.
    Local,
    /// This node for every page, or an error.
    Node(u32),
}

/// The memory node that a pool lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeReport {
    /// None was chosen.
    Any,
    /// This one, the only one there is: nothing was done.
    Only {
        /// The node.
        node: u32,
    },
    /// This one was chosen.
    Placed {
        /// The node.
        node: u32,
        /// How much of the pool was on it when the pool had been made, in bytes.
        bytes_there: u64,
        /// Length of the pool, in bytes.
        bytes: u64,
    },
    /// The local node was wanted and the system refused to say which it is, to prefer it, or to say what is there.
    Refused {
        /// The call that failed.
        call: &'static str,
        /// Its error number.
        errno: i32,
    },
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => f.write_str("any node"),
            Self::Only { node } => write!(f, "node {node}, the only one"),
            Self::Placed { node, bytes_there, bytes } if bytes_there == bytes => write!(f, "node {node}"),
            Self::Placed { node, bytes_there, bytes } => {
                write!(f, "{bytes_there} of {bytes} bytes on node {node}, which had no more")
            }
            Self::Refused { call, errno } => write!(f, "any node: {call}: {}", OsError(errno)),
        }
    }
}

/// Why a pool could not lie on the node demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no such node with memory.
    #[error(
        "node {node} was demanded, and of {nodes} nodes with memory the highest is {node_max} (/sys/devices/system/node)"
    )]
    Unknown {
        /// The node demanded.
        node: u32,
        /// How many nodes have memory.
        nodes: u32,
        /// The highest of them.
        node_max: u32,
    },
    /// The system refused to prefer the node, or to say what lies on it.
    #[error("{call} for node {node}: {}: the node has to be in the process's cpuset, and a seccomp filter may forbid the call", OsError(*errno))]
    Refused {
        /// The node demanded.
        node: u32,
        /// The call that failed.
        call: &'static str,
        /// Its error number.
        errno: i32,
    },
    /// The node had too little memory of the kind.
    #[error(
        "only {bytes_there} of {bytes} bytes could be had on node {node}: free memory there, or prefer it with NodeChoice::Local"
    )]
    Elsewhere {
        /// The node demanded.
        node: u32,
        /// How much was there, in bytes.
        bytes_there: u64,
        /// Length of the pool, in bytes.
        bytes: u64,
    },
}

/// Returns the numbers of the machine's nodes that have memory, lowest first: node 0 alone where the kernel knows
/// no nodes.
#[must_use]
pub fn nodes() -> Vec<u32> {
    nodes_in(Path::new(SYS))
}

/// As [`nodes`], by the tree at `sys`. `has_memory` is there since Linux 3.8.
fn nodes_in(sys: &Path) -> Vec<u32> {
    let folder = sys.join("devices/system/node");
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok().and_then(|text| parse_list(&text));
    read("has_memory").or_else(|| read("online")).unwrap_or_else(|| vec![0])
}

/// Parses `0-1,4`, in ascending order; `None` where it is none of numbers below [`NODES_MAX`].
fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut list = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= NODES_MAX || first > last || list.last().is_some_and(|before| first <= *before) {
            return None;
        }
        list.extend(first..=last);
    }
    Some(list)
}

/// A choice, looked up on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// There is nothing to do, and this to report.
    Free(NodeReport),
    /// This node is preferred, or demanded.
    Node { node: u32, demanded: bool },
}

/// That a mapping prefers its target, or why not.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Preferred {
    target: Target,
    refused: Option<CallError>,
}

impl Target {
    /// Looks `choice` up in the tree at `sys`.
    pub(super) fn new(choice: NodeChoice, sys: &Path) -> Result<Self, NodeError> {
        if choice == NodeChoice::Any {
            return Ok(Self::Free(NodeReport::Any));
        }
        let nodes = nodes_in(sys);
        if let (NodeChoice::Node(node), Some(&node_max)) = (choice, nodes.last())
            && !nodes.contains(&node)
        {
            // Lossless: a list has at most `NODES_MAX` entries.
            return Err(NodeError::Unknown { node, nodes: nodes.len() as u32, node_max });
        }
        match (choice, &*nodes) {
            (_, &[node]) => Ok(Self::Free(NodeReport::Only { node })),
            (NodeChoice::Node(node), _) => Ok(Self::Node { node, demanded: true }),
            (NodeChoice::Any | NodeChoice::Local, _) => Ok(match calls::local() {
                Ok(node) => Self::Node { node, demanded: false },
                Err(CallError { call, errno }) => {
                    Self::Free(NodeReport::Refused { call, errno: errno.raw_os_error() })
                }
            }),
        }
    }

    /// Has the pages of `mapping` come from the target. To be called before there are any.
    pub(super) fn prefer(self, mapping: &Mapping) -> Result<Preferred, NodeError> {
        let Self::Node { node, demanded } = self else {
            return Ok(Preferred { target: self, refused: None });
        };
        match calls::prefer(mapping.start(), mapping.len(), node) {
            Err(refused) if demanded => Err(NodeError::refused(node, refused)),
            answer => Ok(Preferred { target: self, refused: answer.err() }),
        }
    }
}

impl Preferred {
    /// Says where the pages of `mapping` are, each of at least `page_len` bytes. To be called when there are all.
    pub(super) fn report(self, mapping: &Mapping, page_len: usize) -> Result<NodeReport, NodeError> {
        let (node, demanded) = match self.target {
            Target::Free(report) => return Ok(report),
            Target::Node { node, demanded } => (node, demanded),
        };
        let count = || calls::pages_on(mapping.start(), mapping.len(), page_len, node);
        let pages = match self.refused.map_or_else(count, Err) {
            Ok(pages) => pages,
            Err(refused) if demanded => return Err(NodeError::refused(node, refused)),
            Err(CallError { call, errno }) => {
                return Ok(NodeReport::Refused { call, errno: errno.raw_os_error() });
            }
        };
        // Lossless: Linux has no lengths beyond 64 bits.
        let bytes = mapping.len() as u64;
        let bytes_there = pages.saturating_mul(page_len as u64).min(bytes);
        if demanded && bytes_there < bytes {
            return Err(NodeError::Elsewhere { node, bytes_there, bytes });
        }
        Ok(NodeReport::Placed { node, bytes_there, bytes })
    }
}

impl NodeError {
    fn refused(node: u32, CallError { call, errno }: CallError) -> Self {
        Self::Refused { node, call, errno: errno.raw_os_error() }
    }
}
