//! The kinds of room: which pieces, and where they go together.

use std::f32::consts::{FRAC_PI_2, PI};

use super::dice::Dice;
use super::layout::Builder;
use super::pieces::{self, Piece};
use super::plan::Footprint;
use super::vec3::v3;

impl Builder {
    pub(crate) fn living_room(&mut self, dice: &mut Dice) {
        let sofa = pieces::sofa(dice, &mut self.palette);
        let sofa_depth = sofa.half[1];
        if let Some(host) = self.against_wall(dice, sofa, 1.1) {
            self.before_sofa(dice, &host, sofa_depth);
        }
        self.screen_on_cabinet(dice);
        for _ in 0..dice.count(0, 2) {
            let piece = pieces::armchair(dice, &mut self.palette);
            self.anywhere(dice, piece, 0.15);
        }
        for _ in 0..dice.count(1, 2) {
            let piece = pieces::shelf(dice, &mut self.palette);
            self.against_wall(dice, piece, 0.3);
        }
    }

    /// Rug and coffee table. The clearance before the sofa is theirs.
    fn before_sofa(&mut self, dice: &mut Dice, host: &Footprint, depth: f32) {
        self.plan.release_last();
        if dice.chance(0.7) {
            let (w, d) = (dice.between(1.4, 2.4), dice.between(1.2, 1.8));
            self.lay_rug(dice, host, [0.0, -depth - 0.55], w, d);
        }
        if dice.chance(0.85) {
            let table = pieces::coffee_table(dice, &mut self.palette);
            let (height, half) = (table.height, table.half);
            let at = [dice.between(-0.15, 0.15), -depth - 0.32 - half[1]];
            if let Some(top) = self.beside(table, host, at, 0.0) {
                self.clutter(dice, &top, height, half, 2);
            }
        }
    }

    pub(crate) fn bedroom(&mut self, dice: &mut Dice) {
        let bed = pieces::bed(dice, &mut self.palette);
        if let Some(host) = self.against_wall(dice, bed, 0.5) {
            if dice.chance(0.6) {
                let (w, d) = (2.0 * host.half[0] + dice.between(0.6, 1.4), dice.between(1.0, 1.8));
                self.lay_rug(dice, &host, [0.0, -0.5 * host.half[1]], w, d);
            }
            for side in [-1.0, 1.0] {
                if dice.chance(0.75) {
                    let stand = pieces::nightstand(dice, &mut self.palette);
                    let (height, half) = (stand.height, stand.half);
                    let at = [side * (host.half[0] + half[0] + 0.05), host.half[1] - half[1] - 0.01];
                    if let Some(top) = self.beside(stand, &host, at, 0.0) {
                        let thing = match dice.count(0, 3) {
                            0 => pieces::loose_books(dice, &mut self.palette),
                            1 => pieces::table_plant(dice, &mut self.palette, 0.25),
                            _ => pieces::table_lamp(dice, &mut self.palette),
                        };
                        self.on_top(&top, height, vec![(thing, [0.0, 0.02], 0.0)]);
                    }
                }
            }
        }
        let wardrobe = pieces::wardrobe(dice, &mut self.palette);
        self.against_wall(dice, wardrobe, 0.5);
        if dice.chance(0.6) {
            self.dresser(dice);
        }
        if dice.chance(0.5) {
            self.workplace(dice);
        }
    }

    pub(crate) fn study(&mut self, dice: &mut Dice) {
        self.workplace(dice);
        if dice.chance(0.4) {
            self.workplace(dice);
        }
        for _ in 0..dice.count(1, 3) {
            let piece = pieces::shelf(dice, &mut self.palette);
            self.against_wall(dice, piece, 0.3);
        }
        if dice.chance(0.5) {
            let piece = pieces::sofa(dice, &mut self.palette);
            self.against_wall(dice, piece, 0.5);
        }
        if dice.chance(0.5) {
            self.dresser(dice);
        }
    }

    pub(crate) fn dining_room(&mut self, dice: &mut Dice) {
        let table = pieces::dining_table(dice, &mut self.palette);
        let (height, half) = (table.height, table.half);
        if let Some(host) = self.anywhere(dice, table, 0.7) {
            self.clutter(dice, &host, height, half, 3);
            self.chairs_around(dice, &host);
            if dice.chance(0.4) {
                let (w, d) = (2.0 * half[0] + 1.0, 2.0 * half[1] + 1.0);
                self.lay_rug(dice, &host, [0.0, 0.0], w, d);
            }
        }
        self.dresser(dice);
        if dice.chance(0.6) {
            let piece = pieces::shelf(dice, &mut self.palette);
            self.against_wall(dice, piece, 0.3);
        }
    }

    pub(crate) fn store(&mut self, dice: &mut Dice) {
        for _ in 0..dice.count(2, 5) {
            let piece = pieces::box_stack(dice, &mut self.palette);
            self.anywhere(dice, piece, 0.02);
        }
        for _ in 0..dice.count(1, 2) {
            let piece = pieces::shelf(dice, &mut self.palette);
            self.against_wall(dice, piece, 0.3);
        }
        let wardrobe = pieces::wardrobe(dice, &mut self.palette);
        self.against_wall(dice, wardrobe, 0.4);
        self.dresser(dice);
        self.workplace(dice);
    }

    /// A little of everything where there is room, and pictures on the walls.
    pub(crate) fn fill_up(&mut self, dice: &mut Dice) {
        for _ in 0..dice.count(3, 7) {
            match dice.count(0, 9) {
                0 | 1 => {
                    let piece = pieces::floor_plant(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.02);
                }
                2 => {
                    let piece = pieces::floor_lamp(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.02);
                }
                3 => {
                    let piece = pieces::chair(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.04);
                }
                4 => {
                    let piece = pieces::box_stack(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.02);
                }
                5 => {
                    let piece = pieces::shelf(dice, &mut self.palette);
                    self.against_wall(dice, piece, 0.3);
                }
                6 => self.dresser(dice),
                7 => {
                    let piece = pieces::stool(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.05);
                }
                8 => {
                    let piece = pieces::armchair(dice, &mut self.palette);
                    self.anywhere(dice, piece, 0.1);
                }
                _ => self.small_table(dice),
            }
        }
        for _ in 0..dice.count(1, 6) {
            let (w, h) = (dice.between(0.25, 1.1), dice.between(0.25, 0.8));
            let piece = pieces::picture(dice, &mut self.palette, w, h);
            let z = dice.between(1.35, 1.7);
            self.hang(dice, piece, z, 0.06);
        }
    }

    fn small_table(&mut self, dice: &mut Dice) {
        let piece = pieces::coffee_table(dice, &mut self.palette);
        let (height, half) = (piece.height, piece.half);
        if let Some(host) = self.anywhere(dice, piece, 0.1) {
            self.clutter(dice, &host, height, half, 2);
        }
    }

    fn screen_on_cabinet(&mut self, dice: &mut Dice) {
        let mut piece = pieces::cabinet(dice, &mut self.palette);
        let (height, half) = (piece.height, piece.half);
        let width = (1.7 * half[0]).min(dice.between(0.7, 1.3));
        // The wall behind the screen is taken too.
        piece.height = height + 0.58 * width + 0.12;
        if let Some(host) = self.against_wall(dice, piece, 0.6) {
            let screen = pieces::screen(dice, &mut self.palette, width);
            self.on_top(&host, height, vec![(screen, [0.0, 0.02], 0.0)]);
        }
    }

    fn dresser(&mut self, dice: &mut Dice) {
        let piece = pieces::cabinet(dice, &mut self.palette);
        let (height, half) = (piece.height, piece.half);
        if let Some(host) = self.against_wall(dice, piece, 0.5) {
            self.clutter(dice, &host, height, half, 3);
        }
    }

    /// A desk with a screen or lamp, and a chair before it.
    fn workplace(&mut self, dice: &mut Dice) {
        let desk = pieces::desk(dice, &mut self.palette);
        let (height, half) = (desk.height, desk.half);
        let Some(host) = self.against_wall(dice, desk, 0.75) else { return };
        self.plan.release_last();
        let left = dice.sign();
        let mut things = Vec::new();
        if dice.chance(0.75) {
            let width = dice.between(0.42, 0.62);
            let screen = pieces::screen(dice, &mut self.palette, width);
            things.push((screen, [-0.2 * left * half[0], 0.45 * half[1]], dice.between(-0.2, 0.2)));
        }
        if dice.chance(0.6) {
            let lamp = pieces::table_lamp(dice, &mut self.palette);
            things.push((lamp, [left * (half[0] - 0.16), 0.5 * half[1]], 0.0));
        }
        if dice.chance(0.6) {
            let books = pieces::loose_books(dice, &mut self.palette);
            things.push((books, [left * (half[0] - 0.2), -0.45 * half[1]], dice.between(-0.6, 0.6)));
        }
        self.on_top(&host, height, things);
        let seat = if dice.chance(0.65) {
            pieces::office_chair(dice, &mut self.palette)
        } else {
            pieces::chair(dice, &mut self.palette)
        };
        let out = half[1] + seat.half[1] + dice.between(0.02, 0.2);
        let at = [dice.between(-0.3, 0.3) * half[0], -out];
        // A chair at a desk has its back to the room.
        let turn = std::f32::consts::PI + dice.between(-0.4, 0.4);
        self.beside(seat, &host, at, turn);
    }

    fn chairs_around(&mut self, dice: &mut Dice, host: &Footprint) {
        let frame_seed = dice.bits();
        let mut places = vec![([0.0, -1.0], PI), ([0.0, 1.0], 0.0)];
        if host.half[0] > 0.75 {
            places = vec![([-0.5, -1.0], PI), ([0.5, -1.0], PI), ([-0.5, 1.0], 0.0), ([0.5, 1.0], 0.0)];
        }
        places.push(([-1.0, 0.0], FRAC_PI_2));
        places.push(([1.0, 0.0], -FRAC_PI_2));
        // All chairs of a table are alike: each is built from the same draws.
        let mut same = || {
            let mut again = Dice::from_bits(frame_seed);
            pieces::chair(&mut again, &mut self.palette)
        };
        let chairs: Vec<Piece> = places.iter().map(|_| same()).collect();
        for ((side, turn), chair) in places.into_iter().zip(chairs) {
            if dice.chance(0.15) {
                continue;
            }
            let pull = dice.between(0.03, 0.2) + chair.half[1];
            let at = [
                side[0] * (host.half[0] + if side[1] == 0.0 { pull } else { 0.0 }),
                side[1] * (host.half[1] + pull),
            ];
            self.beside(chair, host, at, turn + dice.between(-0.15, 0.15));
        }
    }

    /// Small things on a top of these half sides, in a row of places so that they don't touch.
    fn clutter(&mut self, dice: &mut Dice, host: &Footprint, height: f32, half: [f32; 2], most: u32) {
        let n_places = ((half[0] * 2.0 - 0.1) / 0.36) as u32;
        let mut things = Vec::new();
        for k in 0..n_places {
            if things.len() >= most as usize || !dice.chance(0.6) {
                continue;
            }
            let x = (k as f32 - 0.5 * (n_places as f32 - 1.0)) * 0.36;
            let y = dice.between(-0.3, 0.3) * half[1];
            let thing = match dice.count(0, 4) {
                0 | 1 => pieces::loose_books(dice, &mut self.palette),
                2 => pieces::table_lamp(dice, &mut self.palette),
                _ => {
                    let height = dice.between(0.18, 0.4);
                    pieces::table_plant(dice, &mut self.palette, height)
                }
            };
            things.push((thing, [x, y], dice.between(-0.5, 0.5)));
        }
        self.on_top(host, height, things);
    }

    /// A rug in the frame of a piece; it lies under what stands there and takes no floor.
    fn lay_rug(&mut self, dice: &mut Dice, host: &Footprint, at: [f32; 2], width: f32, depth: f32) {
        let (s, c) = host.yaw.sin_cos();
        let centre = [host.centre[0] + c * at[0] - s * at[1], host.centre[1] + s * at[0] + c * at[1]];
        let mut footprint = Footprint { centre, half: [0.5 * width, 0.5 * depth], yaw: host.yaw };
        for _ in 0..6 {
            if self.plan.inside(&footprint, 0.03) {
                let [w, d] = footprint.half;
                let rug = pieces::rug(dice, &mut self.palette, 2.0 * w, 2.0 * d);
                self.put(rug, host.yaw, v3(centre[0], centre[1], 0.0));
                return;
            }
            footprint.half = footprint.half.map(|h| 0.85 * h);
        }
    }
}
