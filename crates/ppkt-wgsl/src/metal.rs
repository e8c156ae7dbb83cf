//! From WGSL to Metal text.

use std::path::Path;

use naga::back::msl;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess};
use ppkt_device::wgsl::{EntryPoint, KernelSource, LENGTHS_SLOT};

/// Bytes of a group's memory, and threads of a group, that every Apple GPU has (Apple's Metal feature set tables).
const MOST_SHARED: usize = 32 << 10;
const MOST_THREADS: usize = 1024;

/// Reads and validates.
fn parse(wgsl: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(wgsl).unwrap_or_else(|e| panic!("{}", e.emit_to_string(wgsl)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::default());
    let info = validator.validate(&module).unwrap_or_else(|e| panic!("{}", e.emit_to_string(wgsl)));
    (module, info)
}

/// Names of the entries, and what a launcher has to know of them.
///
/// # Panics
/// Where the text is no valid WGSL.
pub fn entry_points(wgsl: &str) -> Vec<(String, EntryPoint)> {
    let (module, info) = parse(wgsl);
    described(&module, &info)
}

fn described(module: &Module, info: &ModuleInfo) -> Vec<(String, EntryPoint)> {
    let describe = |(index, entry): (usize, &naga::EntryPoint)| {
        let uses = info.get_entry_point(index);
        let (mut shared, mut buffers) = (Vec::new(), Vec::new());
        for (handle, variable) in module.global_variables.iter().filter(|(h, _)| !uses[*h].is_empty()) {
            match variable.space {
                AddressSpace::WorkGroup => {
                    // Metal wants multiples of 16.
                    let bytes = module.types[variable.ty].inner.size(module.to_ctx()) as usize;
                    shared.push(bytes.next_multiple_of(16));
                    let _ = handle;
                }
                AddressSpace::Storage { access } => {
                    let binding = variable.binding.expect("a buffer has a binding").binding;
                    buffers.push((binding as usize, access.contains(StorageAccess::STORE)));
                }
                _ => {}
            }
        }
        buffers.sort_unstable();
        let threads = entry.workgroup_size.map(|n| n as usize);
        (entry.name.clone(), EntryPoint { threads, shared, buffers })
    };
    module.entry_points.iter().enumerate().map(describe).collect()
}

/// The Metal text of WGSL, with what a launcher has to know in its first lines: slots of buffers are their bindings.
///
/// Indices are not checked, loops not bounded and shared memory not cleared, which is what the kernels count on; nothing
/// reads the length of an array, so that the argument for these ([`LENGTHS_SLOT`]) may hold anything.
///
/// # Panics
/// Where the text is no valid WGSL, asks for the length of an array, or asks for more than every Apple GPU has.
pub fn to_metal(name: &str, wgsl: &str) -> String {
    assert!(!wgsl.contains("arrayLength"), "{name}: sizes travel in the uniform parameters");
    let (module, info) = parse(wgsl);
    let entries = described(&module, &info);
    for (entry, about) in &entries {
        let shared: usize = about.shared.iter().sum();
        assert!(
            shared <= MOST_SHARED,
            "{name}, {entry}: {shared} bytes of a group's memory, of {MOST_SHARED}"
        );
        let fits = about.buffers.iter().all(|(slot, _)| *slot < usize::from(LENGTHS_SLOT));
        assert!(fits, "{name}, {entry}: slots of buffers end at {LENGTHS_SLOT}");
        let threads: usize = about.threads.iter().product();
        assert!(threads <= MOST_THREADS, "{name}, {entry}: {threads} threads in a group, of {MOST_THREADS}");
    }
    let mut resources =
        msl::EntryPointResources { sizes_buffer: Some(LENGTHS_SLOT), ..msl::EntryPointResources::default() };
    for (_, variable) in module.global_variables.iter() {
        if let Some(binding) = variable.binding {
            let target = msl::BindTarget {
                buffer: Some(binding.binding as u8),
                mutable: matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE)),
                ..Default::default()
            };
            resources.resources.insert(binding, target);
        }
    }
    let options = msl::Options {
        // Of 2020: macOS 11, the first of Apple's own processors.
        lang_version: (2, 3),
        per_entry_point_map: entries.iter().map(|(name, _)| (name.clone(), resources.clone())).collect(),
        fake_missing_bindings: false,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let (text, translated) =
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).expect("Metal text");
    for (entry, name) in entries.iter().zip(translated.entry_point_names) {
        assert_eq!(entry.0, name.expect("an entry"), "a name that Metal reserves");
    }
    assert!(!text.contains("_buffer_sizes."), "{name}: a length of an array is read");
    let lines: String = entries.iter().map(|(name, entry)| entry.line(name) + "\n").collect();
    format!("// Made of {name}.wgsl by naga; not to be edited.\n{lines}{text}")
}

/// Holds checked-in Metal text against its WGSL. With `PPKT_WRITE_METAL` set it writes the text instead, into `folder`
/// of the crate whose test calls this.
///
/// # Panics
/// Where the two differ.
pub fn assert_metal_is_made_of_wgsl(manifest_dir: &str, folder: &str, sources: &[&KernelSource]) {
    assert!(!sources.is_empty());
    for source in sources {
        let made = to_metal(source.name, source.wgsl);
        if std::env::var_os("PPKT_WRITE_METAL").is_some() {
            let path = Path::new(manifest_dir).join(folder).join(format!("{}.metal", source.name));
            std::fs::write(path, made).expect("the Metal text can be written");
            continue;
        }
        assert!(
            made == source.metal,
            "{folder}/{}.metal is not what naga makes of its WGSL: run this test again with PPKT_WRITE_METAL=1",
            source.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: &str = "
        struct P { n: u32 }
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        var<workgroup> s: array<f32, 5>;
        @compute @workgroup_size(4) fn twice(@builtin(local_invocation_index) i: u32) {
            if i < p.n { s[i] = x[i]; }
            workgroupBarrier();
            if i < p.n { y[i] = 2.0 * s[i]; }
        }";

    #[test]
    fn a_launcher_is_told_threads_memory_and_buffers() {
        let text = to_metal("twice", TWICE);
        let entry = EntryPoint::find(&text, "twice").unwrap();
        let want = EntryPoint { threads: [4, 1, 1], shared: vec![32], buffers: vec![(1, false), (2, true)] };
        assert_eq!(entry, want);
        assert!(text.contains("kernel void") && text.contains("[[buffer(2)]]"), "{text}");
    }

    #[test]
    fn the_metal_text_that_all_crates_share_is_made_of_its_wgsl() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../ppkt-device");
        assert_metal_is_made_of_wgsl(folder, "src/wgsl", &[&ppkt_device::wgsl::SUMS]);
    }

    #[test]
    #[should_panic(expected = "sizes travel")]
    fn lengths_of_arrays_are_refused() {
        to_metal("x", &TWICE.replace("p.n", "arrayLength(&x)"));
    }

    #[test]
    #[should_panic(expected = "of a group's memory")]
    fn more_memory_than_a_group_has_is_refused() {
        to_metal("x", &TWICE.replace("array<f32, 5>", "array<f32, 8193>"));
    }
}
