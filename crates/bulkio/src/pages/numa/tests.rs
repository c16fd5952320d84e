//! Node choice over a made-up tree that says there are two nodes, with the real calls: on a machine with one
//! node its tree would make every choice a no-op.

use std::fs;
use std::path::Path;

use scatterlist::Addr;
use tempfile::TempDir;

use super::*;
use crate::pages::{PageKindRequest, PagePool, PoolError, PoolOptions};

/// A tree with nodes listed in `has_memory`.
fn tree(list: &str) -> TempDir {
    let tree = TempDir::new().unwrap();
    let folder = tree.path().join("devices/system/node");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("has_memory"), list).unwrap();
    tree
}

fn pool(node: NodeChoice, sys: &Path) -> Result<PagePool, PoolError> {
    let options = PoolOptions::uniform(rustix::param::page_size(), 600).with_kind(PageKindRequest::Small);
    PagePool::new_on(options.with_node(node), sys)
}

/// The line of `/proc/self/numa_maps` for the mapping at `start`; `None` where the kernel knows no nodes.
fn numa_line(start: u64) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/numa_maps").ok()?;
    maps.lines().find(|line| line.starts_with(&format!("{start:x} "))).map(str::to_owned)
}

/// Says that a test did not run.
fn skip(name: &str) {
    let line = format!("pages::numa::tests::{name}: the kernel knows no nodes (/proc/self/numa_maps)\n");
    eprint!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("BULKIO_SKIP_LOG") {
        use std::io::Write;
        let mut log = fs::File::options().create(true).append(true).open(path).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn lists_of_nodes() {
    for (text, list) in [("0\n", &[0][..]), ("0-1\n", &[0, 1]), ("1,4-6,9", &[1, 4, 5, 6, 9])] {
        assert_eq!(parse_list(text).as_deref(), Some(list));
        assert_eq!(nodes_in(tree(text).path()), list);
    }
    for nonsense in ["", "1-", "x", "3-1", "0,0", "0-1024", "0-4294967295", "2,1"] {
        assert_eq!(parse_list(nonsense), None, "{nonsense}");
        assert_eq!(nodes_in(tree(nonsense).path()), [0]);
    }
    assert_eq!(nodes_in(Path::new("/nonexistent")), [0]);
}

#[test]
fn one_node_is_no_choice_and_is_reported() {
    let tree = tree("3\n");
    for choice in [NodeChoice::Local, NodeChoice::Node(3)] {
        assert_eq!(pool(choice, tree.path()).unwrap().node(), NodeReport::Only { node: 3 });
    }
    assert_eq!(pool(NodeChoice::Any, tree.path()).unwrap().node(), NodeReport::Any);
    let error = pool(NodeChoice::Node(0), tree.path()).unwrap_err();
    assert_eq!(error, PoolError::Node(NodeError::Unknown { node: 0, nodes: 1, node_max: 3 }));
    assert!(error.to_string().contains("of 1 nodes with memory the highest is 3"), "{error}");
}

#[test]
fn a_chosen_node_is_preferred_before_there_are_pages_and_counted_after() {
    // The machine's own node that memory of this process comes from.
    let probe = pool(NodeChoice::Any, Path::new(SYS)).unwrap();
    let Some(line) = numa_line(probe.range().0.raw()) else {
        return skip("a_chosen_node_is_preferred_before_there_are_pages_and_counted_after");
    };
    let node = nodes()[0];
    let other = if node == 0 { 1 } else { 0 };
    assert!(line.contains("default"), "{line}");
    let tree = tree(&format!("{},{}", node.min(other), node.max(other)));
    let pool = pool(NodeChoice::Node(node), tree.path()).unwrap();
    let bytes = pool.bytes();
    assert_eq!(pool.node(), NodeReport::Placed { node, bytes_there: bytes, bytes });
    assert_eq!(pool.node().to_string(), format!("node {node}"));
    let line = numa_line(pool.range().0.raw()).unwrap();
    assert!(line.contains(&format!("prefer:{node} ")), "{line}");
    assert!(line.contains(&format!("N{node}=600")), "{line}");
}

#[test]
fn a_node_that_the_kernel_does_not_have_is_an_error_where_demanded() {
    if numa_line(pool(NodeChoice::Any, Path::new(SYS)).unwrap().range().0.raw()).is_none() {
        return skip("a_node_that_the_kernel_does_not_have_is_an_error_where_demanded");
    }
    let tree = tree("0,1023");
    let error = pool(NodeChoice::Node(1023), tree.path()).unwrap_err();
    let PoolError::Node(NodeError::Refused { node: 1023, call: "mbind", .. }) = error else {
        panic!("{error}")
    };
    // The local one exists, whatever the tree says of others.
    let local = pool(NodeChoice::Local, tree.path()).unwrap().node();
    assert!(matches!(local, NodeReport::Placed { bytes_there: 1.., .. }), "{local}");
}

#[test]
fn pages_are_counted_in_batches_and_only_those_of_the_node() {
    let pool = pool(NodeChoice::Any, Path::new(SYS)).unwrap();
    let (start, len) = (pool.range().0.raw() as usize, pool.range().1 as usize);
    let on = |node| calls::pages_on(start, len, rustix::param::page_size(), node);
    match on(nodes()[0]) {
        Err(_) => skip("pages_are_counted_in_batches_and_only_those_of_the_node"),
        Ok(first) => {
            let all: u64 = nodes().into_iter().map(|node| on(node).unwrap()).sum();
            assert_eq!(all, 600);
            assert!(first <= all);
            assert_eq!(on(1023), Ok(0));
        }
    }
}
