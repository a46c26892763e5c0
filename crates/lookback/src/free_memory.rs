//! How much memory the system would give now: what is free on the machine, and what is left of the limits of a container or a batch job.

use std::path::Path;

/// Bytes that the system could give now, where it tells.
pub(crate) fn available() -> Option<f64> {
    let on_machine = on_machine();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let in_group = left_of_limits(Path::new("/sys/fs/cgroup"), &groups);
    on_machine.into_iter().chain(in_group).min_by(f64::total_cmp)
}

/// Bytes that are free on the machine.
fn on_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

/// Bytes that are left of the tightest limit on the control groups of a process, which `/proc/self/cgroup` lists as
/// `number:controllers:group`, and on those that they belong to.
fn left_of_limits(root: &Path, groups: &str) -> Option<f64> {
    let left = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let group = Path::new(group.trim_start_matches('/'));
        let (folder, kind) = match controllers {
            "" => (root.to_path_buf(), &UNIFIED),
            some if some.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), &SEPARATE)
            }
            _ => return Vec::new(),
        };
        // A container may see only its own part of the tree, as the root.
        group.ancestors().filter_map(|group| kind.left(&folder.join(group))).collect()
    });
    left.min_by(f64::total_cmp)
}

/// Names of the files of a group.
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// Line of `memory.stat` with what the group holds of files, which goes when memory is needed.
    files: &'static str,
}

/// Of groups in one tree (version 2 of control groups), and of those with a tree for each resource.
const UNIFIED: Names = Names { limit: "memory.max", usage: "memory.current", files: "inactive_file" };
const SEPARATE: Names =
    Names { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", files: "total_inactive_file" };

impl Names {
    /// What is left of the limit of a group, if it has one.
    fn left(&self, folder: &Path) -> Option<f64> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<f64>().ok();
        let limit = number(self.limit)?;
        let stat = read("memory.stat").unwrap_or_default();
        let files = stat.lines().find_map(|line| line.strip_prefix(self.files)?.trim().parse::<f64>().ok());
        Some((limit - number(self.usage)? + files.unwrap_or(0.0)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |place: &str, text: &str| {
            let path = root.path().join(place);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        assert_eq!(left_of_limits(root.path(), "0::/job\n3:cpu,cpuacct:/\n"), None);
        write("job/step/memory.max", "max\n");
        write("job/step/memory.current", "5\n");
        assert_eq!(left_of_limits(root.path(), "0::/job/step\n"), None);
        // The job is limited, of which its step knows nothing; and some of what it holds are files.
        write("job/memory.max", "1000\n");
        write("job/memory.current", "700\n");
        write("job/memory.stat", "anon 500\ninactive_file 200\nactive_file 3\n");
        assert_eq!(left_of_limits(root.path(), "0::/job/step\n"), Some(500.0));
        write("memory/task/memory.limit_in_bytes", "900\n");
        write("memory/task/memory.usage_in_bytes", "950\n");
        let both = "0::/job/step\n4:memory:/task\n";
        assert_eq!(left_of_limits(root.path(), both), Some(0.0));
        // A group of the machine outside that a container does not see.
        write("memory.max", "400\n");
        write("memory.current", "100\n");
        assert_eq!(left_of_limits(root.path(), "0::/host/container\n"), Some(300.0));
    }

    #[test]
    fn this_machine_tells_or_does_not() {
        assert!(available().is_none_or(|bytes| bytes.is_finite() && bytes >= 0.0));
    }
}
