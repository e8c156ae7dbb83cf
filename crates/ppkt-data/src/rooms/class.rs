//! What the things in a room are called, and how they are shown.

/// Class of a pixel or point. The number is what [`crate::View::classes`] holds; 0 is kept for "unlabelled" as in
/// every dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub(crate) enum Class {
    Wall = 1,
    Floor,
    Ceiling,
    Bed,
    Chair,
    Sofa,
    Table,
    Cabinet,
    Shelf,
    Books,
    Lamp,
    Plant,
    Picture,
    Rug,
    Door,
    Window,
    Curtain,
    Box,
    Cushion,
    Screen,
}

/// Name and display colour (sRGB) of each class of the rooms; the position in the list is the class number.
///
/// Entry 0 is "unlabelled": pixels and points never have it in rendered rooms, but the place is kept so that class
/// numbers mean the same in every dataset.
pub const ROOM_CLASSES: [(&str, [u8; 3]); 21] = [
    ("unlabelled", [0, 0, 0]),
    ("wall", [174, 199, 232]),
    ("floor", [152, 223, 138]),
    ("ceiling", [225, 225, 240]),
    ("bed", [255, 187, 120]),
    ("chair", [188, 189, 34]),
    ("sofa", [140, 86, 75]),
    ("table", [255, 152, 150]),
    ("cabinet", [31, 119, 180]),
    ("shelf", [196, 156, 148]),
    ("books", [148, 103, 189]),
    ("lamp", [255, 230, 60]),
    ("plant", [44, 160, 44]),
    ("picture", [23, 190, 207]),
    ("rug", [247, 182, 210]),
    ("door", [214, 39, 40]),
    ("window", [197, 230, 250]),
    ("curtain", [219, 219, 141]),
    ("box", [158, 118, 60]),
    ("cushion", [227, 119, 194]),
    ("screen", [82, 84, 163]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_numbers_agree() {
        assert_eq!(ROOM_CLASSES[Class::Wall as usize].0, "wall");
        assert_eq!(ROOM_CLASSES[Class::Books as usize].0, "books");
        assert_eq!(ROOM_CLASSES[Class::Screen as usize].0, "screen");
        assert_eq!(ROOM_CLASSES.len(), Class::Screen as usize + 1);
    }
}
