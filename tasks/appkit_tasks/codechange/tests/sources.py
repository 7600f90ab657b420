"""Source files as people write them, with the functions and the comments that are in them."""

from __future__ import annotations

PYTHON = '''\
#!/usr/bin/env python
# Licence: none at all.

import os

@cache
@retry(times=3)
async def weigh(jar, *, unit="g"):
    # A comment is no statement.
    """Weighs a jar."""
    def inner():
        'Counts.'
        yield 1
    return await jar

class Shelf:
    """A shelf."""

    @property
    def size(self): "Says how large."; return 1

    class Lid:
        def turn(self):
            r"""Turns \\d times.

            Args:
                none
            """

def plain():
    # not a docstring
    return 1

def formatted():
    f"""No {docstring}."""

def raw_bytes():
    rb"""No docstring."""

def joined():
    "No" "docstring."

def weigh(jar): ...
'''
JAVA = """\
/* Licence of the file. */
package a.b;

public class Shelf<T> implements Box {
    /** Makes one. */
    public Shelf() {}

    private int size; // trailing comment
    int count() { return 1; }

    /**
     * Weighs a jar.
     *
     * @param jar of glass
     */
    @Override
    @Deprecated(since = "2")
    public <U> int weigh(Jar jar) throws IOException { return 1; }

    /** Weighs a box. */
    public int weigh(Box box) {
        return new Box() {
            /** Says how deep. */
            int depth() { return 2; }
        }.depth();
    }

    // Turns it.
    // Twice.
    abstract void turn();

    interface Lid {
        /** Opens. */ void open();
    }
    enum Kind {
        A, B;
        /** Says it. */
        String say() { return ""; }
    }
    record Point(int x) {
        /** Checks. */
        Point { }
    }
}
"""
JAVASCRIPT = """\
/** @licence of the file */

/** Weighs a jar. */
export default function weigh(jar) {}

// Counts them.
export const count = (jars) => jars.length;

const a = () => 1, b = () => 2;

/** Draws. */
async function* draw() {}

/** Lists. */
const list = async function* () {};

class Shelf {
  /** Makes one. */
  constructor() {}

  // eslint-disable-next-line no-empty
  static async turn() {}

  /** Is private. */
  #lid() {}

  /** Opens. */
  open = () => {};

  get size() { return 1; }
}

const api = {
  /** Gets. */
  get() {},
};
"""
TYPESCRIPT = """\
const old = <Jar>jar;

/** Weighs. */
export async function weigh<T extends Jar>(jar: T): Promise<number> { return 1; }

/** Parses a text. */
function parse(text: string): number;
function parse(text: number): number;
function parse(text: any) { return 1; }

namespace A.B {
  export abstract class Shelf {
    /** Turns. */
    @bound
    turn(): void {}
    /** Says. */
    abstract say(): string;
    /** Opens. */
    open = (): void => {};
  }
}

interface Lid {
  /** Closes. */
  close(): void;
}

/**
 * Draws.
 */
// @ts-ignore
export const draw = (x: number): number => x;
"""
TSX = """\
/** Shows a jar. */
export const Jar = (props: Props) => <div className="jar">{props.name}</div>;
"""
GO = """\
// Licence.

//go:build linux

package a

// Weigh weighs a jar.
//
// It is slow.
func (s *Shelf[T]) Weigh(j Jar) (int, error) { return 1, nil }

// Weigh weighs a box.
//
//go:noinline
func (b Box) Weigh() int { return 1 }

func Weigh() { f := func() {}; f() }

/* Turn turns. */
func Turn[T any](x T) {}
"""
RUST = """\
//! The crate.

fn first() {}

/// Weighs.
///
/// # Panics
/// Never.
#[inline]
#[must_use]
pub async fn weigh<'a>(jar: &'a Jar) -> u8 { 1 }

impl<T> Shelf<T> {
    /// Turns.
    pub const unsafe fn turn(&self) { fn inner() {} }
}

impl Lid for Shelf<u8> {
    /** Opens. */
    fn open(&self) {}
}

trait Lid {
    /// Opens a lid.
    fn open(&self);
}

mod deep {
    // Plain.
    fn plain() {}
}
/// Of nothing that is near.

fn last() {}
"""
C = """\
/* Licence. */

#include <stdio.h>

/* Weighs. */
static inline int weigh(struct jar *jar)
{
    return 1;
}

int size; /* trailing */
char *name(void) { return 0; }

/*
 * Returns a function.
 */
int (*find(int a))(int) { return 0; }

// Turns.
// Twice.
#ifdef A
void turn(void) {}
#endif

int prototype(int a);
"""
CPP = """\
namespace shelf {
/// Weighs.
template <typename T>
[[nodiscard]] constexpr T weigh(const T &jar) noexcept { return jar; }

class Shelf : public Box {
 public:
  /** Makes one. */
  explicit Shelf(int size) : size_(size) {}
  //! Ends it.
  ~Shelf() = default;
  /// Adds.
  Shelf &operator+=(const Shelf &other) { return *this; }
  operator bool() const { return true; }
  virtual void turn() = 0;
};

/*! Opens. */
int Shelf::open() const { auto f = [](int a) { return a; }; return f(1); }
int &Shelf::size() { return size_; }
}  // namespace shelf
"""
FOUND: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("python", PYTHON): [
        ("weigh", "Weighs a jar."),
        ("weigh.inner", "Counts."),
        ("Shelf.size", "Says how large."),
        ("Shelf.Lid.turn", "Turns \\d times.\n\nArgs:\nnone"),
        ("plain", ""),
        ("formatted", ""),
        ("raw_bytes", ""),
        ("joined", ""),
        ("weigh#2", ""),
    ],
    ("java", JAVA): [
        ("Shelf.Shelf", "Makes one."),
        ("Shelf.count", ""),
        ("Shelf.weigh", "Weighs a jar.\n\n@param jar of glass"),
        ("Shelf.weigh#2", "Weighs a box."),
        ("Shelf.weigh.depth", "Says how deep."),
        ("Shelf.turn", "Turns it.\nTwice."),
        ("Shelf.Lid.open", "Opens."),
        ("Shelf.Kind.say", "Says it."),
        ("Shelf.Point.Point", "Checks."),
    ],
    ("javascript", JAVASCRIPT): [
        ("weigh", "Weighs a jar."),
        ("count", "Counts them."),
        ("a", ""),
        ("b", ""),
        ("draw", "Draws."),
        ("list", "Lists."),
        ("Shelf.constructor", "Makes one."),
        ("Shelf.turn", ""),
        ("Shelf.#lid", "Is private."),
        ("Shelf.open", "Opens."),
        ("Shelf.size", ""),
        ("get", "Gets."),
    ],
    ("typescript", TYPESCRIPT): [
        ("weigh", "Weighs."),
        ("parse", "Parses a text."),
        ("parse#2", ""),
        ("parse#3", ""),
        ("A.B.Shelf.turn", "Turns."),
        ("A.B.Shelf.say", "Says."),
        ("A.B.Shelf.open", "Opens."),
        ("Lid.close", "Closes."),
        ("draw", "Draws."),
    ],
    ("typescript", TSX): [("Jar", "Shows a jar.")],
    ("go", GO): [
        ("Shelf.Weigh", "Weigh weighs a jar.\n\nIt is slow."),
        ("Box.Weigh", "Weigh weighs a box."),
        ("Weigh", ""),
        ("Turn", "Turn turns."),
    ],
    ("rust", RUST): [
        ("first", ""),
        ("weigh", "Weighs.\n\n# Panics\nNever."),
        ("Shelf<T>.turn", "Turns."),
        ("Shelf<T>.turn.inner", ""),
        ("Shelf<u8>.open", "Opens."),
        ("Lid.open", "Opens a lid."),
        ("deep.plain", "Plain."),
        ("last", ""),
    ],
    ("c", C): [
        ("weigh", "Weighs."),
        ("name", ""),
        ("find", "Returns a function."),
        ("turn", ""),
    ],
    ("cpp", CPP): [
        ("shelf.weigh", "Weighs."),
        ("shelf.Shelf.Shelf", "Makes one."),
        ("shelf.Shelf.~Shelf", "Ends it."),
        ("shelf.Shelf.operator+=", "Adds."),
        ("shelf.Shelf.bool", ""),
        ("shelf.Shelf::open", "Opens."),
        ("shelf.Shelf::size", ""),
    ],
}
