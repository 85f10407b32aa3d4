//! What one position of a screen holds.

/// A colour of text or of its background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// The terminal's own.
    #[default]
    Default,
    /// One of the palette: 0 to 15 have names, 16 to 231 are a cube, the rest are greys.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// Attributes of text, a set of the constants. The style of the underline is a number in it, see
/// [`Attrs::underline`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attrs(u16);

impl Attrs {
    /// Bold, or brighter.
    pub const BOLD: Self = Self(1);
    /// Drawn fainter than usual.
    pub const FAINT: Self = Self(1 << 1);
    /// Drawn in slanted letters.
    pub const ITALIC: Self = Self(1 << 2);
    /// Drawn so that it blinks.
    pub const BLINK: Self = Self(1 << 3);
    /// Text and background change places.
    pub const INVERSE: Self = Self(1 << 4);
    /// Takes room and is not drawn.
    pub const HIDDEN: Self = Self(1 << 5);
    /// Drawn with a line through it.
    pub const STRIKE: Self = Self(1 << 6);
    /// A line above.
    pub const OVERLINE: Self = Self(1 << 7);
    /// Selective erasure passes it over (DECSCA). No attribute of the text, so that SGR 0 leaves it.
    pub const PROTECTED: Self = Self(1 << 8);
    const UNDERLINE_SHIFT: u16 = 9;
    const UNDERLINE_MASK: u16 = 0b111 << Self::UNDERLINE_SHIFT;

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets or clears `other`.
    pub const fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }

    /// The style of the underline: 0 none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed.
    #[must_use]
    pub const fn underline(self) -> u16 {
        (self.0 & Self::UNDERLINE_MASK) >> Self::UNDERLINE_SHIFT
    }

    /// Sets the style of the underline; an unknown one is a single line.
    pub const fn set_underline(&mut self, style: u16) {
        let style = if style > 5 { 1 } else { style };
        self.0 = self.0 & !Self::UNDERLINE_MASK | style << Self::UNDERLINE_SHIFT;
    }
}

/// How text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pen {
    /// Colour of the text.
    pub fg: Color,
    /// Colour behind it.
    pub bg: Color,
    /// Bold, underlined and the like.
    pub attrs: Attrs,
}

impl Pen {
    /// What an erased cell is written with: only the background stays.
    #[must_use]
    pub(crate) const fn blank(self) -> Self {
        Self { fg: Color::Default, bg: self.bg, attrs: Attrs(0) }
    }
}

/// Most bytes of combining characters in one cell; further ones are dropped.
const MARKS_MAX: usize = 32;

/// One position of a screen: a character, what is combined with it, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    ch: char,
    pen: Pen,
    width: u8,
    /// Boxed twice, since few cells have any and all would pay for the length.
    #[allow(clippy::box_collection, reason = "a thin pointer keeps a cell at 24 bytes")]
    marks: Option<Box<String>>,
}

const _: () = assert!(size_of::<Cell>() == 24);

impl Default for Cell {
    fn default() -> Self {
        Self::blank(Pen::default())
    }
}

impl Cell {
    pub(crate) const fn new(ch: char, width: u8, pen: Pen) -> Self {
        Self { ch, pen, width, marks: None }
    }

    pub(crate) const fn blank(pen: Pen) -> Self {
        Self::new(' ', 1, pen)
    }

    /// The character; a blank where nothing was written.
    #[must_use]
    pub const fn char(&self) -> char {
        self.ch
    }

    /// What is combined with the character: accents, joiners, variation selectors.
    #[must_use]
    pub fn marks(&self) -> &str {
        self.marks.as_ref().map_or("", |marks| marks)
    }

    /// Columns it takes: 1, 2, or 0 for the second half of a wide character.
    #[must_use]
    pub const fn width(&self) -> u8 {
        self.width
    }

    /// How it is written.
    #[must_use]
    pub const fn pen(&self) -> Pen {
        self.pen
    }

    /// Whether it is as in an empty terminal.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn mark(&mut self, mark: char) {
        let marks = self.marks.get_or_insert_default();
        if marks.len() + mark.len_utf8() <= MARKS_MAX {
            marks.push(mark);
        }
    }

    pub(crate) const fn set_pen(&mut self, pen: Pen) {
        self.pen = pen;
    }

    /// Appends its text. The second half of a wide character has none.
    pub fn push_to(&self, text: &mut String) {
        if self.width > 0 {
            text.push(self.ch);
            text.push_str(self.marks());
        }
    }
}
