"""A visitor without a pointer: where Tab leads on a page, and what it never reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from browser import HIDDEN_TABS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MOST_STOPS = 120  # of a page

# What has the focus, marked as reached: its name, the height it stands at, and its ring. That of a
# dropdown is around its box.
FOCUSED = """walk => {
  const x = document.activeElement;
  if (!x || x === document.body) return null;
  x.dataset.reached = walk;
  const box = x.getBoundingClientRect();
  const ring = [x, x.closest('.wrap')].filter(Boolean).map(y => getComputedStyle(y)).some(
    s => s.outlineStyle === 'solid' && parseFloat(s.outlineWidth) >= 2);
  const inside = box.width > 0 && box.right > 0 && box.left < innerWidth
    && box.bottom > 0 && box.top < innerHeight;
  const name = [x.tagName, x.type, x.ariaLabel, x.innerText].filter(Boolean).join(' ');
  return {name: name.slice(0, 60), top: box.top + scrollY, seen: ring && inside};
}"""
# What a pointer can use. Cells of a table have one stop, from which arrows lead on.
UNREACHED = """([walk, hidden]) => [...document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [role=button], [role=tab], [tabindex]')]
  .filter(x => x.checkVisibility({visibilityProperty: true}) && !x.disabled)
  .filter(x => x.dataset.reached !== walk && !x.closest(hidden))
  .filter(x => !x.closest('[role=grid]'))
  .map(x => x.outerHTML.slice(0, 200))"""


@dataclass(frozen=True)
class Stop:
    """Where the focus rested.

    Attributes:
        name: what it rested on, in words.
        top: where that starts, in pixels from the page's top.
        seen: it is in the window and has a ring.
    """

    name: str
    top: float
    seen: bool


@dataclass(frozen=True)
class Keyboard:
    """Uses a page by keys alone."""

    page: Page

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text."""
        self.page.keyboard.type(text)

    def to(self, target: Locator, key: str = "Tab") -> None:
        """Go on with Tab, or with Shift+Tab, until the target has the focus.

        Raises:
            AssertionError: where it never gets it.
        """
        for _ in range(MOST_STOPS):
            if target.evaluate("x => x === document.activeElement"):
                return
            self.press(key)
        raise AssertionError(f"{key} never leads to {target}")

    def walk(self, name: str) -> list[Stop]:
        """Go through the whole page from its start, and return the stops.

        Args:
            name: of this walk; `unreached` asks for it.

        Raises:
            AssertionError: where the focus never leaves the page.
        """
        # As after loading: the next Tab leads to the first stop.
        self.page.evaluate(
            """() => {
              const start = document.createElement('span');
              start.tabIndex = -1; document.body.prepend(start); start.focus();
              addEventListener('focusin', () => start.remove(), {once: true});
            }"""
        )
        stops = []
        for _ in range(MOST_STOPS):
            self.press("Tab")
            found: Any = self.page.evaluate(FOCUSED, name)
            if found is None:
                return stops
            stops.append(Stop(**found))
        raise AssertionError(f"the focus does not leave the page: {stops[-3:]}")

    def unreached(self, name: str) -> list[str]:
        """Return what a pointer can use and no stop of this walk was."""
        return list(self.page.evaluate(UNREACHED, [name, HIDDEN_TABS]))
