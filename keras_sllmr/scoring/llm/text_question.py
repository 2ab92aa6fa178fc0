"""A question for one text."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_sllmr.scoring.llm.request import Answer, Request
from keras_sllmr.scoring.llm.request_maker import RequestMaker
from keras_sllmr.scoring.llm.text_template import TextTemplate, Values

# Of the numbers of askings, which tell the samples apart: more than any re-asks.
_PER_SAMPLE = 1000


@dataclass(frozen=True, kw_only=True)
class TextQuestion:
    """A question for one text, asked again while the answer is of no use.

    Args:
        template: of the prompt.
        maker: makes the requests.
        values: what the prompt is about.
        tokens: int. Most tokens of the text.
        sample: int. The how-many-th text on the same; 0 is the first.
        reasks: int. Most requests after the first.
    """

    template: TextTemplate
    maker: RequestMaker
    values: Values
    tokens: int
    sample: int = 0
    reasks: int = 1

    def next(self, answers: Sequence[Answer]) -> Request | None:
        """See `Question.next`."""
        if answers and (
            len(answers) > self.reasks
            or answers[-1].reason
            or self.template.read(answers[-1])[0]
        ):
            return None
        return self.maker.text(
            self.template.render(self.values),
            tokens=self.tokens,
            schema=self.template.schema,
            attempt=self.sample * _PER_SAMPLE + len(answers),
        )
