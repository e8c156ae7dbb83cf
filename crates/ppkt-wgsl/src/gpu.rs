//! A Vulkan device that runs kernels on buffers.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource};

use crate::metal::entry_points;

/// A Vulkan device, in hardware or in software.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Mutex<HashMap<(&'static str, &'static str), Pipeline>>,
}

#[derive(Clone)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    /// Bindings of the buffers, in ascending order.
    bindings: Vec<u32>,
}

/// Memory of a [`Gpu`].
#[derive(Debug, Clone)]
pub struct Memory {
    buffer: wgpu::Buffer,
    words: usize,
}

/// What memory holds before anything is written, and what stands behind its end: a NaN that no kernel makes.
const UNWRITTEN: u32 = 0xffff_dead;
/// Words behind the end of a buffer, to see whether a kernel writes there.
const BEHIND: usize = 64;

impl Gpu {
    /// The device, opened once; `None`, with the reason printed, where there is none.
    ///
    /// # Panics
    /// Where there is none although `PPKT_REQUIRE_VULKAN` is set.
    pub fn get() -> Option<&'static Self> {
        static GPU: OnceLock<std::result::Result<Gpu, String>> = OnceLock::new();
        match GPU.get_or_init(|| pollster::block_on(Self::open())) {
            Ok(gpu) => Some(gpu),
            Err(reason) => {
                assert!(std::env::var_os("PPKT_REQUIRE_VULKAN").is_none(), "no Vulkan device: {reason}");
                eprintln!(
                    "skipped: no Vulkan device to run the Metal kernels' WGSL on (on Debian: apt-get install \
                     mesa-vulkan-drivers libvulkan1): {reason}"
                );
                None
            }
        }
    }

    async fn open() -> std::result::Result<Self, String> {
        let mut wanted = wgpu::InstanceDescriptor::new_without_display_handle();
        wanted.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(wanted);
        let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await;
        let adapter = adapter.map_err(|e| e.to_string())?;
        let wanted =
            wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = adapter.request_device(&wanted).await.map_err(|e| e.to_string())?;
        eprintln!("WGSL runs on {}", adapter.get_info().name);
        Ok(Self { device, queue, pipelines: Mutex::default() })
    }

    fn pipeline(&self, source: &'static KernelSource, entry: &'static str) -> Pipeline {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let all = entry_points(source.wgsl);
            let known = all.iter().find(|(name, _)| name == entry);
            let (_, about) = known.unwrap_or_else(|| panic!("{}.wgsl has no entry {entry}", source.name));
            let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(source.name),
                source: wgpu::ShaderSource::Wgsl(source.wgsl.into()),
            });
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry),
                layout: None,
                module: &module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline { pipeline, bindings: about.buffers.iter().map(|(slot, _)| *slot as u32).collect() }
        };
        pipelines.entry((source.name, entry)).or_insert_with(make).clone()
    }

    fn filled(&self, words: &[u32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * words.len() as u64,
            usage,
            mapped_at_creation: true,
        });
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        buffer.slice(..).get_mapped_range_mut().expect("mapped at creation").copy_from_slice(&bytes);
        buffer.unmap();
        buffer
    }

    /// What a buffer holds.
    ///
    /// # Panics
    /// Where a kernel wrote behind its end.
    pub fn words(&self, memory: &Memory) -> Vec<u32> {
        let bytes = memory.buffer.size();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&memory.buffer, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("memory can be read"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
        let mapped = staging.slice(..).get_mapped_range().expect("mapped");
        let words: Vec<u32> =
            mapped.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (words, behind) = words.split_at(memory.words);
        assert!(behind.iter().all(|w| *w == UNWRITTEN), "a kernel wrote behind the end of its buffer");
        words.to_vec()
    }

    /// What a buffer holds, as numbers.
    ///
    /// # Panics
    /// As [`Self::words`].
    pub fn floats(&self, memory: &Memory) -> Vec<f32> {
        self.words(memory).into_iter().map(f32::from_bits).collect()
    }

    /// A buffer with these numbers.
    pub fn of(&self, values: &[f32]) -> Memory {
        let words: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
        self.memory(&words)
    }

    fn memory(&self, words: &[u32]) -> Memory {
        let mut all = words.to_vec();
        all.extend([UNWRITTEN; BEHIND]);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        Memory { buffer: self.filled(&all, usage), words: words.len() }
    }
}

impl Compute for Gpu {
    type Buffer = Memory;

    fn buffer(&self, words: usize) -> Result<Memory> {
        Ok(self.memory(&vec![UNWRITTEN; words]))
    }

    fn upload(&self, words: &[u32]) -> Result<Memory> {
        Ok(self.memory(words))
    }

    fn run(
        &self,
        source: &'static KernelSource,
        entry: &'static str,
        groups: [usize; 3],
        buffers: &[&Memory],
        parameters: &[u32],
    ) -> Result<()> {
        let Pipeline { pipeline, bindings } = self.pipeline(source, entry);
        assert_eq!(bindings.len(), buffers.len(), "buffers of {entry} in {}.wgsl", source.name);
        let uniform = self.filled(parameters, wgpu::BufferUsages::UNIFORM);
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }];
        for (&binding, memory) in bindings.iter().zip(buffers) {
            entries.push(wgpu::BindGroupEntry { binding, resource: memory.buffer.as_entire_binding() });
        }
        let layout = pipeline.get_bind_group_layout(0);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry),
            layout: &layout,
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = groups.map(|n| n as u32);
            pass.dispatch_workgroups(x, y, z);
        }
        self.queue.submit([encoder.finish()]);
        Ok(())
    }
}
