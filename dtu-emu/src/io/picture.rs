//! A screen as a picture.

use avt::{Color, Pen};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::screen::Screen;

const HEIGHT: usize = RasterHeight::Size16.val();
const WIDTH: usize = get_raster_width(FontWeight::Regular, RasterHeight::Size16);

type Rgb = [u8; 3];
const FOREGROUND: Rgb = [0xd0, 0xd0, 0xd0];
const BACKGROUND: Rgb = [0x10, 0x10, 0x10];

struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        let at = (y * self.width + x) * 3;
        if let Some(pixel) = self.pixels.get_mut(at..at + 3) {
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
    let mut canvas = Canvas { width, pixels: BACKGROUND.repeat(width * height) };
    for (row, line) in screen.cells().enumerate() {
        // The second half of a wide character is drawn with the first.
        for (col, cell) in line.cells().iter().enumerate().filter(|(_, cell)| cell.width() > 0) {
            let is_cursor = screen.cursor() == Some((col, row));
            draw(&mut canvas, (col, row), cell, is_cursor);
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

fn draw(canvas: &mut Canvas, (col, row): (usize, usize), cell: &avt::Cell, is_cursor: bool) {
    let (x, y) = (col * WIDTH, row * HEIGHT);
    let width = WIDTH * usize::from(cell.width());
    let (mut front, mut back) = colours(cell.pen());
    if is_cursor {
        (front, back) = (back, front);
    }
    canvas.fill(x, y, width, HEIGHT, back);
    match cell.char() {
        ' ' => {}
        c => match arms(c) {
            Some(arms) => draw_box(canvas, x, y, arms, front),
            None => draw_glyph(canvas, x, y, c, cell.pen().is_bold(), front, back),
        },
    }
    if cell.pen().is_underline() {
        canvas.fill(x, y + HEIGHT - 2, width, 1, front);
    }
    if cell.pen().is_strikethrough() {
        canvas.fill(x, y + HEIGHT / 2, width, 1, front);
    }
}

fn draw_glyph(canvas: &mut Canvas, x: usize, y: usize, c: char, bold: bool, front: Rgb, back: Rgb) {
    let weight = if bold { FontWeight::Bold } else { FontWeight::Regular };
    let Some(glyph) = get_raster(c, weight, RasterHeight::Size16) else {
        // A frame says that there is something which we cannot draw.
        canvas.fill(x + 1, y + 3, WIDTH - 2, HEIGHT - 6, front);
        return canvas.fill(x + 2, y + 4, WIDTH - 4, HEIGHT - 8, back);
    };
    for (dy, line) in glyph.rows().enumerate() {
        for (dx, ink) in line.iter().enumerate() {
            let mix = |front: u8, back: u8| {
                let (front, back, ink) = (u32::from(front), u32::from(back), u32::from(*ink));
                u8::try_from((front * ink + back * (255 - ink)) / 255).unwrap_or(u8::MAX)
            };
            let [r, g, b] = [0, 1, 2].map(|i| mix(front[i], back[i]));
            canvas.set(x + dx, y + dy, [r, g, b]);
        }
    }
}

/// Left, right, up, down.
type Arms = [bool; 4];

/// Box-drawing characters, which the font lacks and full-screen programs love.
const fn arms(c: char) -> Option<Arms> {
    const fn of(bits: u8) -> Option<Arms> {
        Some([bits & 8 != 0, bits & 4 != 0, bits & 2 != 0, bits & 1 != 0])
    }
    match c {
        '\u{2500}' | '\u{2501}' | '\u{2550}' => of(0b1100),
        '\u{2502}' | '\u{2503}' | '\u{2551}' => of(0b0011),
        '\u{250c}' | '\u{250f}' | '\u{2554}' | '\u{256d}' => of(0b0101),
        '\u{2510}' | '\u{2513}' | '\u{2557}' | '\u{256e}' => of(0b1001),
        '\u{2514}' | '\u{2517}' | '\u{255a}' | '\u{2570}' => of(0b0110),
        '\u{2518}' | '\u{251b}' | '\u{255d}' | '\u{256f}' => of(0b1010),
        '\u{251c}' | '\u{2523}' | '\u{2560}' => of(0b0111),
        '\u{2524}' | '\u{252b}' | '\u{2563}' => of(0b1011),
        '\u{252c}' | '\u{2533}' | '\u{2566}' => of(0b1101),
        '\u{2534}' | '\u{253b}' | '\u{2569}' => of(0b1110),
        '\u{253c}' | '\u{254b}' | '\u{256c}' => of(0b1111),
        _ => None,
    }
}

fn draw_box(canvas: &mut Canvas, x: usize, y: usize, [left, right, up, down]: Arms, colour: Rgb) {
    let (mx, my) = (WIDTH / 2, HEIGHT / 2);
    let mut part = |wanted, dx, dy, width, height| {
        if wanted {
            canvas.fill(x + dx, y + dy, width, height, colour);
        }
    };
    part(left, 0, my, mx + 1, 1);
    part(right, mx, my, WIDTH - mx, 1);
    part(up, mx, 0, 1, my + 1);
    part(down, mx, my, 1, HEIGHT - my);
}

fn colours(pen: &Pen) -> (Rgb, Rgb) {
    let bright = pen.is_bold();
    let front = pen.foreground().map_or(FOREGROUND, |colour| rgb(colour, bright));
    let back = pen.background().map_or(BACKGROUND, |colour| rgb(colour, false));
    let front = if pen.is_faint() { front.map(|c| c / 2 + 8) } else { front };
    if pen.is_inverse() { (back, front) } else { (front, back) }
}

/// The colours of xterm.
fn rgb(colour: Color, bright: bool) -> Rgb {
    const BASE: [Rgb; 16] = [
        [0x00, 0x00, 0x00],
        [0xcd, 0x31, 0x31],
        [0x0d, 0xbc, 0x79],
        [0xe5, 0xe5, 0x10],
        [0x24, 0x72, 0xc8],
        [0xbc, 0x3f, 0xbc],
        [0x11, 0xa8, 0xcd],
        [0xe5, 0xe5, 0xe5],
        [0x66, 0x66, 0x66],
        [0xf1, 0x4c, 0x4c],
        [0x23, 0xd1, 0x8b],
        [0xf5, 0xf5, 0x43],
        [0x3b, 0x8e, 0xea],
        [0xd6, 0x70, 0xd6],
        [0x29, 0xb8, 0xdb],
        [0xff, 0xff, 0xff],
    ];
    match colour {
        Color::RGB(rgb) => [rgb.r, rgb.g, rgb.b],
        Color::Indexed(n @ 0..8) if bright => BASE[usize::from(n) + 8],
        Color::Indexed(n @ 0..16) => BASE[usize::from(n)],
        Color::Indexed(n @ 16..232) => {
            let n = n - 16;
            let level = |step: u8| if step == 0 { 0 } else { 55 + step * 40 };
            [level(n / 36), level(n / 6 % 6), level(n % 6)]
        }
        Color::Indexed(n) => [8 + (n - 232) * 10; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtu::Paint;
    use proto::frame::Size;

    fn decode(text: &str) -> (usize, Vec<u8>) {
        let mut screen = Screen::new(Size { cols: 10, rows: 2 });
        screen.apply(&Paint::Bytes(text.as_bytes().to_vec()));
        let bytes = png(&screen).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width as usize, info.height as usize), (10 * WIDTH, 2 * HEIGHT));
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

    #[test]
    fn colours_and_the_cursor_show() {
        assert!(cell("\x1b[44m \x1b[0m", 0, 0).iter().all(|p| *p == rgb(Color::Indexed(4), false)));
        assert!(cell("", 0, 0).iter().all(|p| *p == FOREGROUND), "the cursor");
        assert!(cell("\x1b[?25l", 0, 0).iter().all(|p| *p == BACKGROUND), "hidden");
    }

    #[test]
    fn lines_of_boxes_meet_at_the_edges_of_their_cells() {
        let ink: Vec<_> = cell("\u{2500}", 0, 0);
        let middle = &ink[HEIGHT / 2 * WIDTH..][..WIDTH];
        assert!(middle.iter().all(|p| *p == FOREGROUND), "{middle:?}");
    }

    #[test]
    fn what_the_font_lacks_is_drawn_as_a_frame() {
        assert!(cell("\u{4e16}", 0, 0).contains(&FOREGROUND));
    }
}
