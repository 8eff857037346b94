#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Conversations about sums, lists and words, with answers that follow from the questions, as JSON lines.
#
#   made_up_chats.py COUNT > chats.jsonl
import json
import random
import sys

NAMES = ("Ada", "Bj\u00f6rn", "Chlo\u00e9", "Deniz", "Emi", "Farid", "Gra\u00e7a", "Hana")
THINGS = ("apples", "books", "coins", "stamps", "shells", "tickets")


def turn(noise):
    """A question and its answer."""
    a, b, c = (noise.randrange(2, 40) for _ in range(3))
    name, thing = noise.choice(NAMES), noise.choice(THINGS)
    letters = "".join(noise.choices("abcdefgh", k=noise.randrange(3, 9)))
    return noise.choice((
        (f"{name} has {a} {thing} and finds {b} more. How many {thing} are there?",
         f"{name} has {a} and finds {b}, so there are {a} + {b} = {a + b} {thing}."),
        (f"What is {a} times {b}, plus {c}?", f"First {a} * {b} = {a * b}. Then {a * b} + {c} = {a * b + c}."),
        (f"Write '{letters}' backwards.", f"It is '{letters[::-1]}'."),
        (f"Sort these numbers: {a}, {b}, {c}.", ", ".join(map(str, sorted((a, b, c)))) + "."),
        (f"Which is larger, {a} or {b}?", f"{max(a, b)}." if a != b else "They are equal.")))


def conversations(count, seed=1):
    noise = random.Random(seed)
    for number in range(count):
        messages = [{"role": "system", "content": "You answer briefly."}] if number % 3 == 0 else []
        for question, answer in (turn(noise) for _ in range(noise.randrange(1, 4))):
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        yield {"messages": messages}


if __name__ == "__main__":
    for record in conversations(int(sys.argv[1])):
        print(json.dumps(record, ensure_ascii=False))
