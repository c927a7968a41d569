//! The terminal while `watch` has it: raw, on the alternate screen, and given back whatever happens.

use crate::error::Error;
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::{cursor, execute, terminal};
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long one look for a key takes: the thread sees within it that it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// The terminal, taken over.
pub struct Screen {
    quit: watch::Receiver<bool>,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over and begins to listen for `q`, Esc and Ctrl-C.
    ///
    /// # Errors
    /// When the terminal can't be taken over.
    pub fn open() -> Result<Self, Error> {
        terminal::enable_raw_mode()?;
        if let Err(error) = execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide) {
            let _ = terminal::disable_raw_mode();
            return Err(error.into());
        }
        let (tell, quit) = watch::channel(false);
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !end.load(Ordering::Acquire) {
                match poll(LOOK).and_then(|ready| if ready { read().map(Some) } else { Ok(None) }) {
                    Ok(Some(event)) if quits(&event) => break,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            let _ = tell.send(true);
        });
        Ok(Self { quit, ended })
    }

    /// Returns once the person wants to leave.
    pub async fn quit(&mut self) {
        let _ = self.quit.wait_for(|quit| *quit).await;
    }

    /// Columns and lines.
    pub fn size() -> (usize, usize) {
        terminal::size().map_or((80, 24), |(width, height)| (width.into(), height.into()))
    }

    /// Draws from the top; lines that are not drawn are cleared.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn draw(&self, lines: &[String], to: &mut (dyn Write + Send)) -> Result<(), Error> {
        let mut frame = "\u{1b}[H".to_owned();
        frame += &lines.iter().map(|line| format!("{line}\u{1b}[K")).collect::<Vec<_>>().join("\r\n");
        frame += "\u{1b}[J";
        to.write_all(frame.as_bytes())?;
        Ok(to.flush()?)
    }
}

fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = execute!(stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    #[test]
    fn q_and_ctrl_c_leave() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(quits(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(quits(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!quits(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!quits(&Event::Resize(1, 1)));
    }
}
