//! Pickles of PyTorch's checkpoints, read by candle's machine under a guard.
//!
//! Nothing is executed: the machine makes lists, dictionaries, and the *names* of what Python would call. The guard
//! weighs each step before it is made, because a few bytes of a pickle can ask for gigabytes, or nest so deeply that
//! taking the result apart overflows the stack.

use std::collections::HashMap;

use candle_core::pickle::{Object, Stack};
use safetensors::tensor::Dtype;

/// Deepest nesting; a training state of lists in dictionaries in lists has a dozen levels.
const MAX_DEPTH: usize = 100;

/// Most objects, or 64 bytes of text each: some hundred times what the largest published network needs.
const MAX_SIZE: usize = 4 << 20;

/// A tensor as a pickle describes it.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    pub(super) dtype: Dtype,
    /// Name of the record that holds its numbers.
    pub(super) record: String,
    /// Numbers in that record.
    pub(super) record_len: usize,
    /// Numbers before its first one.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Numbers between neighbours along each axis.
    pub(super) strides: Vec<usize>,
}

/// Reads one pickle from the front of `rest`, which then begins behind it.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn read(rest: &mut &[u8]) -> Result<Object, String> {
    let whole = rest.len();
    let (mut machine, mut guard) = (Stack::empty(), Guard::default());
    loop {
        let at = whole - rest.len();
        let (&step, operands) = rest.split_first().ok_or("its list of tensors ends early")?;
        guard.step(step, operands)?;
        match machine.read(rest) {
            Ok(false) => {}
            Ok(true) => break,
            Err(_) => return Err(format!("byte {at} of its list of tensors makes no sense")),
        }
    }
    machine.finalize().map_err(|_| "its list of tensors is empty".to_owned())
}

/// All tensors in an object, dictionaries in dictionaries included, by their keys with dots between.
pub(super) fn tensors(object: &Object) -> Vec<(String, Described)> {
    let mut found = Vec::new();
    collect("", object, &mut found);
    found
}

fn collect(name: &str, object: &Object, found: &mut Vec<(String, Described)>) {
    match object {
        Object::Dict(items) => {
            for (key, value) in items {
                let key = match key {
                    Object::Unicode(key) => key.clone(),
                    Object::Int(key) => key.to_string(),
                    _ => continue,
                };
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                collect(&name, value, found);
            }
        }
        Object::Reduce { callable, args } => {
            found.extend(rebuilt(callable, args).map(|tensor| (name.to_owned(), tensor)));
        }
        _ => {}
    }
}

/// The class of an object that is not tensors, for messages.
pub(super) fn class_of(object: &Object) -> Option<String> {
    match object {
        Object::Class { module_name, class_name } => Some(format!("{module_name}.{class_name}")),
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => class_of(callable),
        _ => None,
    }
}

/// What PyTorch's functions for rebuilding tensors are given (`torch/_utils.py`).
fn rebuilt(callable: &Object, args: &Object) -> Option<Described> {
    let (Object::Class { module_name, class_name }, Object::Tuple(args)) = (callable, args) else {
        return None;
    };
    match (module_name.as_str(), class_name.as_str(), &args[..]) {
        ("torch._utils", "_rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
            described(storage, offset, shape, strides)
        }
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", [inner, ..]) => {
            let Object::Reduce { callable, args } = inner else { return None };
            rebuilt(callable, args)
        }
        ("torch._tensor", "_rebuild_from_type_v2", [callable, _, args, ..]) => rebuilt(callable, args),
        _ => None,
    }
}

fn described(storage: &Object, offset: &Object, shape: &Object, strides: &Object) -> Option<Described> {
    let Object::PersistentLoad(storage) = storage else { return None };
    let Object::Tuple(storage) = &**storage else { return None };
    // Older files add what part of another storage this is, which no file of a network was seen to use.
    let (class, record, len) = match &storage[..] {
        [_, Object::Class { class_name, .. }, Object::Unicode(record), _, len]
        | [_, Object::Class { class_name, .. }, Object::Unicode(record), _, len, Object::None] => {
            (class_name, record.clone(), number(len)?)
        }
        _ => return None,
    };
    let dtype = match class.as_str() {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    };
    let (shape, strides) = (numbers(shape)?, numbers(strides)?);
    let same = shape.len() == strides.len();
    same.then_some(Described { dtype, record, record_len: len, offset: number(offset)?, shape, strides })
}

fn number(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

fn numbers(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(items) = object else { return None };
    items.iter().map(number).collect()
}

/// The machine's stack and memory, with the weight of each object in its place.
#[derive(Default)]
struct Guard {
    stack: Vec<Weight>,
    memory: HashMap<u32, Weight>,
    total: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    size: usize,
    depth: usize,
    mark: bool,
}

impl Guard {
    /// Follows what the machine will do; what it would refuse by itself is left to it.
    fn step(&mut self, step: u8, operands: &[u8]) -> Result<(), String> {
        match step {
            b'X' => {
                let len = operands.first_chunk().map_or(usize::MAX, |b| u32::from_le_bytes(*b) as usize);
                if len > operands.len().saturating_sub(4) {
                    return Err("a word in its list of tensors is cut off".to_owned());
                }
                self.push_text(len)
            }
            b'c' => {
                let end = operands.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1);
                self.push_text(end.ok_or("a name in its list of tensors is cut off")?.0)
            }
            // The machine shifts by as many bytes as it is told.
            0x8a if operands.first().is_some_and(|n| *n > 8) => {
                Err("a number in its list of tensors has more than 64 bits".to_owned())
            }
            0x8a | b'J' | b'K' | b'M' | b'G' | b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | b'd' => {
                self.push_text(0)
            }
            b'(' => self.push(Weight { size: 1, depth: 0, mark: true }, 1),
            b'h' => self.recall(operands.first().map(|id| u32::from(*id))),
            b'j' => self.recall(operands.first_chunk().map(|b| u32::from_le_bytes(*b))),
            b'q' => self.keep(operands.first().map(|id| u32::from(*id))),
            b'r' => self.keep(operands.first_chunk().map(|b| u32::from_le_bytes(*b))),
            b'Q' | 0x85 => self.wrap(1),
            b'R' | b'b' | 0x81 | 0x86 => self.wrap(2),
            0x87 => self.wrap(3),
            b't' => {
                let parts = self.take_marked();
                self.push_around(parts)
            }
            b'a' => {
                let part = self.take(1);
                self.add(part)
            }
            b's' => {
                let parts = self.take(2);
                self.add(parts)
            }
            b'e' | b'u' => {
                let parts = self.take_marked();
                self.add(parts)
            }
            _ => Ok(()),
        }
    }

    fn push_text(&mut self, len: usize) -> Result<(), String> {
        let size = 1 + len / 64;
        self.push(Weight { size, depth: 0, mark: false }, size)
    }

    /// Puts an object on the stack, for which so much is made.
    fn push(&mut self, weight: Weight, made: usize) -> Result<(), String> {
        self.stack.push(weight);
        self.count(made, weight.depth)
    }

    fn count(&mut self, made: usize, depth: usize) -> Result<(), String> {
        self.total = self.total.saturating_add(made);
        if self.total > MAX_SIZE || depth > MAX_DEPTH {
            return Err("its list of tensors is larger or deeper than that of any network".to_owned());
        }
        Ok(())
    }

    fn recall(&mut self, id: Option<u32>) -> Result<(), String> {
        match id.and_then(|id| self.memory.get(&id)) {
            Some(&weight) => self.push(weight, weight.size),
            None => Ok(()),
        }
    }

    /// The machine keeps a copy.
    fn keep(&mut self, id: Option<u32>) -> Result<(), String> {
        let (Some(id), Some(&weight)) = (id, self.stack.last()) else { return Ok(()) };
        self.memory.insert(id, weight);
        self.count(weight.size, weight.depth)
    }

    /// Takes the topmost `n` off.
    fn take(&mut self, n: usize) -> Weight {
        let parts = self.stack.split_off(self.stack.len().saturating_sub(n));
        let depth = parts.iter().map(|w| w.depth).max().unwrap_or(0);
        Weight { size: parts.iter().map(|w| w.size).sum(), depth, mark: false }
    }

    /// Takes all above the last mark off, and the mark.
    fn take_marked(&mut self) -> Weight {
        let parts = self.take(self.stack.iter().rev().take_while(|w| !w.mark).count());
        self.stack.pop();
        parts
    }

    fn wrap(&mut self, n: usize) -> Result<(), String> {
        let parts = self.take(n);
        self.push_around(parts)
    }

    fn push_around(&mut self, parts: Weight) -> Result<(), String> {
        self.push(Weight { size: parts.size + 1, depth: parts.depth + 1, mark: false }, 1)
    }

    /// Makes the parts part of the topmost object.
    fn add(&mut self, parts: Weight) -> Result<(), String> {
        let Some(whole) = self.stack.last_mut() else { return Ok(()) };
        whole.size += parts.size;
        whole.depth = whole.depth.max(parts.depth + 1);
        let depth = whole.depth;
        self.count(0, depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_rebuild_tensor_v2(storage, 3, (2, 5), (5, 1))` as torch.save writes it, without what follows.
    fn tensor() -> Vec<u8> {
        let mut p = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nHalfStorage\n".to_vec();
        p.extend(b"X\x01\0\0\x007X\x03\0\0\0cpuK\x0dtQK\x03K\x02K\x05\x86K\x05K\x01\x86\x89tR");
        p
    }

    fn named(name: &str) -> Vec<u8> {
        [&b"X"[..], &(name.len() as u32).to_le_bytes(), name.as_bytes()].concat()
    }

    #[test]
    fn dictionaries_in_dictionaries_give_names_with_dots() {
        let inner = [&b"}("[..], &named("a.weight"), &tensor(), b"K\x05", &tensor(), b"u"].concat();
        let outer =
            [&b"\x80\x02}("[..], &named("net"), &inner, &named("epoch"), b"K\x07", b"u.rest"].concat();
        let mut rest = &outer[..];
        let object = read(&mut rest).unwrap();
        assert_eq!(rest, b"rest");
        let mut found = tensors(&object);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["net.5", "net.a.weight"]);
        let want = Described {
            dtype: Dtype::F16,
            record: "7".into(),
            record_len: 13,
            offset: 3,
            shape: vec![2, 5],
            strides: vec![5, 1],
        };
        assert_eq!(found[1].1, want);
    }

    #[test]
    fn calls_are_named_and_not_made() {
        let mut rest = &b"cos\nsystem\nX\x04\0\0\0trueR."[..];
        let object = read(&mut rest).unwrap();
        assert_eq!(class_of(&object).unwrap(), "os.system");
        assert!(tensors(&object).is_empty());
    }

    #[test]
    fn what_ends_early_or_makes_no_sense_is_refused() {
        let whole = [&b"}"[..], &named("a"), &tensor(), b"s."].concat();
        assert_eq!(tensors(&read(&mut &whole[..]).unwrap()).len(), 1);
        for end in 0..whole.len() {
            assert!(read(&mut &whole[..end]).is_err(), "{end}");
        }
        for nonsense in [&b"."[..], b"\xff", b"N(", b"R.", b"h\x05.", b"t.", b"Na.", b"\x8a\x09123456789."] {
            assert!(read(&mut &nonsense[..]).is_err(), "{nonsense:?}");
        }
        // Arguments that are too few, or of other kinds.
        for call in [&b"(t"[..], b"N", b"(NNNNt", b"((tK\0K\0K\0t"] {
            let bytes = [&b"ctorch._utils\n_rebuild_tensor_v2\n"[..], call, b"R."].concat();
            assert!(tensors(&read(&mut &bytes[..]).unwrap()).is_empty());
        }
    }

    #[test]
    fn a_few_bytes_cannot_ask_for_gigabytes() {
        // A list of ten of the list before, nine times over; then deep nesting; then a word that is not there.
        let mut doubling = b"]q\0".to_vec();
        for i in 0..9u8 {
            doubling.extend([b']', b'(']);
            doubling.extend([b'h', i].repeat(10));
            doubling.extend([b'e', b'q', i + 1]);
        }
        let deep = [&b"N"[..], &b"\x85".repeat(1 << 20), b"."].concat();
        // A list that is put into its own copy, again and again.
        let chain = [&b"]q\0"[..], &b"h\0aq\0".repeat(1 << 16)].concat();
        let word = b"X\xff\xff\xff\xffshort".to_vec();
        for bytes in [doubling, deep, chain, word] {
            let error = read(&mut &bytes[..]).unwrap_err();
            assert!(error.contains("larger or deeper") || error.contains("cut off"), "{error}");
        }
    }
}
