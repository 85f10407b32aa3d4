//! A screen as a picture, in the glyphs of GNU Unifont: every script, emoji in one colour, nothing shaped.
//!
//! The font comes with the crate `unifont` and, beyond the basic plane, from `upper.hex`. It is under the SIL Open Font
//! License 1.1 or the GPL with the font embedding exception, at the choice of whoever uses it; we use it under the former.

mod glyph;

use terminal::{Attrs, Cell, Color, Rgb};

use crate::screen::Screen;

const HEIGHT: usize = glyph::HEIGHT;
const WIDTH: usize = glyph::WIDTH;

struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        let at = (y * self.width + x) * 3;
        if let Some(pixel) = self.pixels.get_mut(at..at + 3).filter(|_| x < self.width) {
            pixel.copy_from_slice(&colour);
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        for y in y..y + height {
            for x in x..(x + width).min(self.width) {
                self.set(x, y, colour);
            }
        }
    }
}

/// The screen as a PNG file.
///
/// # Errors
/// What the encoder said; it writes to memory, so there is no reason to expect it.
pub(super) fn png(screen: &Screen) -> Result<Vec<u8>, png::EncodingError> {
    let (cols, rows) = (usize::from(screen.size().cols), usize::from(screen.size().rows));
    let (width, height) = (cols * WIDTH, rows * HEIGHT);
    let mut canvas = Canvas { width, pixels: vec![0; width * height * 3] };
    for (row, line) in screen.rows().enumerate() {
        // The second half of a wide character is drawn with the first.
        for (col, cell) in line.cells().iter().enumerate().filter(|(_, cell)| cell.width() > 0) {
            let colours = colours(screen, cell, screen.cursor() == Some((col, row)));
            draw(&mut canvas, (col * WIDTH, row * HEIGHT), cell, colours);
        }
    }
    if let Some(notice) = screen.notice() {
        let (front, back) = (screen.palette().dynamic(1), screen.palette().dynamic(0));
        let y = rows.saturating_sub(1) * HEIGHT;
        canvas.fill(0, y, width, HEIGHT, back);
        for (col, c) in notice.chars().take(cols).enumerate() {
            draw_glyph(&mut canvas, (col * WIDTH, y), c, Attrs::default(), (WIDTH, front));
        }
    }
    let mut bytes = Vec::new();
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, size(width), size(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&canvas.pixels)?;
    Ok(bytes)
}

fn draw(canvas: &mut Canvas, (x, y): (usize, usize), cell: &Cell, (front, back): (Rgb, Rgb)) {
    let width = WIDTH * usize::from(cell.width());
    let attrs = cell.pen().attrs;
    canvas.fill(x, y, width, HEIGHT, back);
    if attrs.has(Attrs::HIDDEN) {
        return;
    }
    draw_glyph(canvas, (x, y), cell.char(), attrs, (width, front));
    for mark in cell.marks().chars() {
        draw_glyph(canvas, (x, y), mark, attrs, (width, front));
    }
    let mut line = |dy: usize, ink: fn(usize) -> bool| {
        (0..width).filter(|dx| ink(*dx)).for_each(|dx| canvas.set(x + dx, y + dy, front));
    };
    match attrs.underline() {
        0 => {}
        2 => [HEIGHT - 3, HEIGHT - 1].into_iter().for_each(|dy| line(dy, |_| true)),
        3 => {
            line(HEIGHT - 2, |dx| dx % 4 < 2);
            line(HEIGHT - 1, |dx| dx % 4 >= 2);
        }
        4 => line(HEIGHT - 2, |dx| dx % 2 == 0),
        5 => line(HEIGHT - 2, |dx| dx % 4 < 3),
        _ => line(HEIGHT - 2, |_| true),
    }
    if attrs.has(Attrs::STRIKE) {
        line(HEIGHT / 2, |_| true);
    }
    if attrs.has(Attrs::OVERLINE) {
        line(0, |_| true);
    }
}

/// Draws the ink of a character; slanted if it is italic, twice if it is bold.
fn draw_glyph(
    canvas: &mut Canvas,
    (x, y): (usize, usize),
    c: char,
    attrs: Attrs,
    (width, ink): (usize, Rgb),
) {
    let Some(rows) = glyph::rows(c) else {
        // A frame says that there is something which we cannot draw.
        for dy in 3..HEIGHT - 3 {
            let edge = dy == 3 || dy == HEIGHT - 4;
            (1..width - 1)
                .filter(|dx| edge || *dx == 1 || *dx == width - 2)
                .for_each(|dx| canvas.set(x + dx, y + dy, ink));
        }
        return;
    };
    let is_squeezed = width == WIDTH && rows.iter().any(|row| row & 0x00ff != 0);
    // Lines and blocks meet those of the next cell as they are.
    let is_drawing = ('\u{2500}'..='\u{259f}').contains(&c);
    for (dy, row) in rows.iter().enumerate() {
        // To the right above the middle, to the left below it.
        let slant = if attrs.has(Attrs::ITALIC) && !is_drawing { 2 - (dy / 4).cast_signed() } else { 0 };
        for dx in (0..16).filter(|dx| row & 0x8000 >> dx != 0) {
            // A glyph that is wider than what programs take it for is drawn narrower.
            let dx = if is_squeezed { dx / 2 } else { dx };
            let at = (dx + slant).clamp(0, width.cast_signed() - 1).cast_unsigned();
            canvas.set(x + at, y + dy, ink);
            if attrs.has(Attrs::BOLD) && !is_drawing && at + 1 < width {
                canvas.set(x + at + 1, y + dy, ink);
            }
        }
    }
}

/// Of the text and of what is behind it.
fn colours(screen: &Screen, cell: &Cell, is_cursor: bool) -> (Rgb, Rgb) {
    let (palette, pen) = (screen.palette(), cell.pen());
    let front = match pen.fg {
        Color::Indexed(n @ 0..8) if pen.attrs.has(Attrs::BOLD) => palette.indexed(n + 8),
        color => palette.rgb(color, true),
    };
    let back = palette.rgb(pen.bg, false);
    let front = if pen.attrs.has(Attrs::FAINT) { front.map(|c| c / 2 + 8) } else { front };
    if pen.attrs.has(Attrs::INVERSE) ^ screen.is_inverse() ^ is_cursor {
        (back, front)
    } else {
        (front, back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtu::Paint;
    use proto::frame::Size;
    use terminal::Palette;

    const FOREGROUND: Rgb = [0xd0; 3];
    const BACKGROUND: Rgb = [0x10; 3];

    fn decode(text: &str) -> (usize, Vec<u8>) {
        let mut screen = Screen::new(Size { cols: 10, rows: 2 });
        screen.apply(&Paint::Bytes(text.as_bytes().to_vec()));
        decode_screen(&screen)
    }

    fn decode_screen(screen: &Screen) -> (usize, Vec<u8>) {
        let size = screen.size();
        let bytes = png(screen).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let expected = (usize::from(size.cols) * WIDTH, usize::from(size.rows) * HEIGHT);
        assert_eq!((info.width as usize, info.height as usize), expected);
        (info.width as usize, pixels)
    }

    fn cell(text: &str, col: usize, row: usize) -> Vec<Rgb> {
        let (width, pixels) = decode(text);
        let inside = |at: usize| (at % width / WIDTH, at / width / HEIGHT) == (col, row);
        let pixels = pixels.chunks(3).enumerate().filter(|(at, _)| inside(*at));
        pixels.map(|(_, p)| [p[0], p[1], p[2]]).collect()
    }

    #[test]
    fn a_letter_has_ink_and_a_blank_has_none() {
        assert!(cell("A", 0, 0).iter().any(|p| *p != BACKGROUND));
        assert!(cell("A", 5, 1).iter().all(|p| *p == BACKGROUND));
    }

    /// The columns of a cell that have ink, for each of its rows.
    fn ink(text: &str, col: usize) -> Vec<Vec<usize>> {
        let pixels = cell(text, col, 0);
        let row = |row: &[Rgb]| (0..WIDTH).filter(|x| row[*x] == FOREGROUND).collect();
        pixels.chunks(WIDTH).map(row).collect()
    }

    #[test]
    fn colours_and_the_cursor_show() {
        let blue = Palette::default().indexed(4);
        assert!(cell("\x1b[44m \x1b[0m", 0, 0).iter().all(|p| *p == blue));
        assert!(cell("", 0, 0).iter().all(|p| *p == FOREGROUND), "the cursor");
        assert!(cell("\x1b[?25l", 0, 0).iter().all(|p| *p == BACKGROUND), "hidden");
        let changed = cell("\x1b]4;4;#010203\x1b\\\x1b[44m \x1b[0m", 0, 0);
        assert!(changed.iter().all(|p| *p == [1, 2, 3]), "as a program has changed it");
        assert!(cell("\x1b[?5h\x1b[?25l", 0, 0).iter().all(|p| *p == FOREGROUND), "an inverse screen");
    }

    #[test]
    fn a_double_line_is_two_lines_that_meet_those_of_the_next_cell() {
        let double = ink("\u{2550}", 0);
        assert_eq!(double.iter().filter(|row| row.len() == WIDTH).count(), 2, "{double:?}");
        let down = ink("\u{2551}", 0);
        assert!(down.iter().all(|row| row.len() == 2 && *row == down[0]), "{down:?}");
        assert_eq!(ink("\u{2500}", 0).iter().filter(|row| row.len() == WIDTH).count(), 1);
    }

    #[test]
    fn italics_lean_to_the_right() {
        let (upright, slanted) = (ink("\x1b[?25ll", 0), ink("\x1b[?25l\x1b[3ml", 0));
        let first = |rows: &[Vec<usize>]| rows.iter().find_map(|row| row.first().copied()).unwrap();
        assert!(first(&slanted) > first(&upright), "{slanted:?}");
        assert_ne!(upright, slanted);
    }

    #[test]
    fn every_script_that_people_write_has_glyphs() {
        let samples = "\u{e9}\u{df} \u{3b1}\u{3c9} \u{416}\u{44f} \u{5d0} \u{627} \u{905} \u{e01} \u{10d0} \u{531} \u{4e16}\u{754c} \u{3042}\u{30a2} \u{ac00} \
                       \u{2190}\u{2192} \u{2588}\u{2591} \u{28ff}\u{2801} \u{2714} \u{1f600}\u{1f680}\u{1fae0} \u{1fb00}";
        for c in samples.chars() {
            let rows = glyph::rows(c);
            assert!(rows.is_some_and(|rows| c == ' ' || rows.iter().any(|row| *row != 0)), "{c:?}");
        }
    }

    #[test]
    fn a_mark_is_drawn_on_its_letter_and_a_wide_character_over_two_cells() {
        let (plain, marked) = (ink("\x1b[?25le", 0), ink("\x1b[?25le\u{301}", 0));
        assert!(plain.iter().zip(&marked).all(|(plain, marked)| plain.iter().all(|x| marked.contains(x))));
        assert_ne!(plain, marked);
        assert!(ink("\x1b[?25l\u{4e16}", 1).iter().any(|row| !row.is_empty()));
    }

    #[test]
    fn what_the_font_lacks_is_drawn_as_a_frame_and_a_notice_over_the_last_line() {
        assert!(cell("\u{20000}", 0, 0).contains(&FOREGROUND));
        let mut screen = Screen::new(Size { cols: 8, rows: 2 });
        screen.apply(&Paint::Notice(Some(crate::dtu::Notice { text: "No host".into(), passes: false })));
        let (width, pixels) = decode_screen(&screen);
        let last = &pixels[width * HEIGHT * 3..];
        assert!(last.chunks(3).filter(|p| **p == FOREGROUND).count() > width * HEIGHT / 2);
    }
}
