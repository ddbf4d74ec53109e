"""How many questions fit in a prompt: accuracy, failures, and a scorer's accuracy without any explanation.

The same questions about the same features of the demo are asked 1, 5, 10, 25, 40 and 50 per prompt. An oracle with
a set error rate answers, not a language model (`oracle`). It shows that the pipeline reproduces the rates put in,
what the failure of one question costs the others in its prompt, and what the similarity of texts alone is worth at
each size. It cannot show how much more a model errs as prompts grow.
"""

from benchmarks.borrowed import Asked, asked_lake, plain_errors
from benchmarks.figures import Figure, publish

N_FEATURES = 12
N_QUESTIONS = 50
PER_PROMPT = (1, 5, 10, 25, 40, 50)
ERROR_RATE = 0.2
FAILURE_RATE = 0.002


@plain_errors()
def main() -> None:
    """Measure and publish."""
    print(f"an oracle with error rate {ERROR_RATE} answers, not a language model")
    figures = []
    for size in PER_PROMPT:
        with asked_lake(
            N_FEATURES,
            [1 - ERROR_RATE],
            FAILURE_RATE,
            controls=N_FEATURES,
            n_questions=N_QUESTIONS,
            questions_per_prompt=size,
            min_coverage=0,
        ) as asked:
            figures += _figures(asked, size)
    publish("calibration", figures)


def _figures(asked: Asked, size: int) -> list[Figure]:
    """The figures for one number of questions per prompt, by scorer, each over all answers together."""
    with asked.lake.connect(asked.sae, 0) as connection:
        rows = connection.sql(
            """
            with by_label as (
                select
                    p.scorer,
                    e.explainer,
                    p.label,
                    count(*) as n,
                    count(p.prediction) as n_scored,
                    count(*) filter (p.prediction = p.label) / nullif(count(p.prediction), 0) as share_right
                from predictions as p
                join explanations as e using (explanation_id)
                where e.explainer in ('default', 'empty')
                group by p.scorer, e.explainer, p.label
            )
            select scorer, explainer, avg(share_right), 1 - sum(n_scored) / sum(n), sum(n)
            from by_label
            group by scorer, explainer
            order by scorer, explainer
            """
        ).fetchall()
    figures = []
    for scorer, explainer, accuracy, failed, n in rows:
        by = f"{scorer}, {size} per prompt, {n:,} questions; oracle with error rate {ERROR_RATE}"
        if explainer == "default":
            failing = 1 - (1 - FAILURE_RATE) ** size if size > 1 else 0.0
            figures += [
                Figure(f"{scorer}_accuracy_at_{size}", accuracy, "", limit=1 - ERROR_RATE, better="higher",
                       note=by),
                Figure(f"{scorer}_failed_at_{size}", failed, "share", limit=failing,
                       note=f"{by} and failure rate {FAILURE_RATE} per question"),
            ]  # fmt: skip
        else:
            figures.append(
                Figure(f"{scorer}_empty_accuracy_at_{size}", accuracy, "", note=f"{by}, without an explanation")
            )
    return figures


if __name__ == "__main__":
    main()
