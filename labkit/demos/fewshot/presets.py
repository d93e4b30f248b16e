"""Forms to start from, in English and Chinese: each makes one point about learning from a few examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from labkit.demos.fewshot.form import EXAMPLES, Class, Form
from labkit.tasks import Task, load_task

SHORT = {"en": 170, "zh": 48}  # characters: reviews that can be read at a glance
TASKS = {"en": "world/reviews", "zh": "world/reviews-zh"}
EMPTY_WORDS = {"en": ("monday", "tuesday"), "zh": ("周", "小")}  # they say nothing of good or bad
TRIED = {
    "en": (
        "what a wonderful concert . we heard it on monday with leo .",  # clear
        "the charger was terrible . i tested the cable on sunday .",
        "the dessert was superb . the waiter was dreadful .",  # contradicts itself
        "the wait was long . the portion was small .",  # words that are blame of these nouns
        "the salad was not good .",  # a negation
    ),
    "zh": (
        "这里的演唱会真的精彩。",
        "充电器差劲。我测试了数据线和耳机。",
        "甜点美妙。服务员可怕。",
        "等位时间很长。份量很小。",
        "沙拉不好。",
    ),
}
SUBJECTS = {
    "en": Form(
        (
            Class("films", "film", ("the actor forgot the dialogue .", "the director talked about the script .",
                  "we watched the duel and the finale .")),
            Class("hotels", "hotel", ("paul showed the passports at the reception .", "the towel was in the bathroom .",
                  "we stayed for three nights . the lobby was next to the lift .")),
            Class("food", "restaurant", ("ben took the fish and i took the pasta .", "we had salad and bread .",
                  "paul asked for the bill after the dessert .")),
            Class("phones", "phone", ("the charger came with a case .", "i put in the card and moved nine contacts .",
                  "i looked at the screen and called paul .")),
        ),
        "{text} in short , a good {mask} .",
        "we sat in row nine . the actress came in late .\nthe bed was next to the balcony .\n"
        "the waiter came with the soup .\nthe battery life was long and the app was new .",
    ),
    "zh": Form(
        (
            Class("电影", "影", ("我们看过电影。", "剧本是从上海来的。", "演员和导演住在北京。")),
            Class("酒店", "房", ("我们周一预订了房间。", "被褥放在浴室旁边。", "小王离开了大堂。")),
            Class("美食", "汤", ("汤和沙拉是服务员点的。", "我们在广州尝了甜点。", "小李跟我说起过火锅。")),
            Class("手机", "手", ("我周日解锁了手机。", "铃声是从广州来的。", "按键放在机身旁边。")),
        ),
        "{text}总之是{mask}。",
        "镜头是导演拍摄的。\n阳台和床铺都舒适。\n小张吃了牛排。\n我们升级了应用。",
    ),
}  # fmt: skip


class Preset(NamedTuple):
    """A form and what it shows; where it is `drawn`, `form(task, draw)` has other examples for each draw."""

    form: Callable[[Task, int], Form]
    point: str
    drawn: bool = True


def reviews(task: Task, draw: int) -> Form:
    """Short reviews of the world, drawn at random: EXAMPLES a class, the same for one number `draw`."""
    short = [row for row in task.splits["train"] if len(row["text"]) <= SHORT[task.language]]
    rows = dataclasses.replace(task, splits={"train": short}).few_shot(EXAMPLES, draw, dev=False).splits["train"]
    classes = tuple(
        Class(name, task.words[name][0], tuple(row["text"] for row in rows if row["label"] == number))
        for number, name in enumerate(task.labels)
    )
    return Form(classes, task.patterns[0], "\n".join(TRIED[task.language]))


def _with_words(form: Form, words: tuple[str, ...]) -> Form:
    classes = tuple(dataclasses.replace(c, word=word) for c, word in zip(form.classes, words, strict=True))
    return dataclasses.replace(form, classes=classes)


def empty_words(task: Task, draw: int) -> Form:
    """The same with label words that have nothing to do with the classes."""
    return _with_words(reviews(task, draw), EMPTY_WORDS[task.language])


def swapped_words(task: Task, draw: int) -> Form:
    """The same with each class under the other's label word."""
    form = reviews(task, draw)
    return _with_words(form, tuple(c.word for c in reversed(form.classes)))


def subjects(task: Task, draw: int) -> Form:
    """Four classes: what a sentence is about."""
    return SUBJECTS[task.language]


PRESETS = {
    "Good or bad": Preset(reviews, "Short reviews, drawn at random. About one opinion in eight contradicts its label."),
    "Words that say nothing": Preset(
        empty_words, "The same, with label words that have nothing to do with the classes."
    ),
    "Words swapped": Preset(swapped_words, "The same, with each class under the other's label word."),
    "Four subjects": Preset(subjects, "Four classes: what is a sentence about?", drawn=False),
}


def world_task(language: str) -> Task:
    """The world's review task in that language: it gives examples, and the rows to score on."""
    return load_task(TASKS[language])
