# SPDX-License-Identifier: Apache-2.0
# What is compared: the variants of a task, as overrides of its deck, and the claims that they decide.
#
# All variants of a seed start from one pretrained parent and see the same data. A name with {} stands for three variants,
# each of which trains the model of one budget alone.
import dataclasses

BUDGETS = ("1", "0.75", "0.5")


@dataclasses.dataclass(frozen=True)
class Variant:
    """`overrides` of the deck; `steps`: factor on the steps of both elastic stages."""
    overrides: tuple = ()
    steps: float = 1.0


@dataclasses.dataclass(frozen=True)
class Claim:
    """What is asked, the variants whose results answer it (the first is what the others are compared with), the tasks
    it is asked on, the budgets that are compared, and what the answer does not say."""
    title: str
    variants: tuple
    tasks: tuple = ("reasoning", "text")
    budgets: tuple = BUDGETS
    limits: str = ""


def alone(steps):
    """One variant per budget that trains only that budget, through both stages."""
    def weights(budget):
        return ", ".join("1" if name == budget else "0" for name in BUDGETS)
    return {budget: Variant(tuple(f"stage{n}/budget_probability={weights(budget)}" for n in (1, 2)), steps) for budget in BUDGETS}


VARIANTS = {
    "nested": Variant(),
    **{f"alone_each_{budget}": variant for budget, variant in alone(1).items()},
    **{f"alone_share_{budget}": variant for budget, variant in alone(1 / 3).items()},
    # All tokens in short sequences; one last step at rate 0 makes the evaluation that of the long ones.
    "short_only": Variant(("stage1/tokens={tokens}", "stage1/steps=0", "stage2/steps=1", "stage2/learning_rate=0",
                           "stage2/router_learning_rate=0")),
    "uniform_stage2": Variant(("stage2/budget_probability=1, 1, 1",)),
    "shared_widths": Variant(("elastic/per_layer=",)),
    "homogeneous": Variant(("router/widths=homogeneous", "elastic/per_layer=")),
    "cross_entropy": Variant(("distill/distillation_weight=0", "distill/cross_entropy_weight=1")),
    "two_budgets": Variant(("elastic/budgets=1, 0.5", "stage2/budget_probability=5, 2", "evaluate/extra_budgets=0.75")),
    "random_order": Variant(("rank/order=random",)),
    "reversed_order": Variant(("rank/order=reversed",)),
    "paper_importance": Variant(("rank/aggregation=sum", "rank/activations=projections")),
    "depth_cosine": Variant(("rank/depth_measure=cosine",)),
    "depth_last_layers": Variant(("rank/depth_measure=last_layers",)),
}

CLAIMS = (
    Claim("One nested family, or a model distilled for each budget with all of the family's tokens",
          ("nested", "alone_each_{}"),
          limits="The models trained alone see three times the tokens of the family in all; their router searches for one budget only."),
    Claim("One nested family, or a model distilled for each budget with a third of the tokens", ("nested", "alone_share_{}"),
          limits="Equal tokens in all; the family shares one set of weights, the three models have three."),
    Claim("Two stages, or the short context only", ("nested", "short_only"),
          limits="Equal tokens; measured on sequences of stage 2, four times (text) or twice (reasoning) as long as those of stage 1. Several "
                 "short problems fill a sequence of reasoning: they need no long context."),
    Claim("Weighted or uniform budgets in stage 2", ("nested", "uniform_stage2")),
    Claim("Widths per layer, or one width for all layers of a kind", ("nested", "shared_widths")),
    Claim("Learned widths, or the same fraction of every width", ("nested", "homogeneous"), budgets=("0.75", "0.5"),
          limits="Both drop layers in the order of the same ranking, the homogeneous models only where widths alone do not meet "
                 "the budget. Costs are equal within the tolerance of budgets. Theirs are fixed from the first step on; the learned ones are "
                 "mixtures until the router has decided."),
    Claim("Distillation, or cross-entropy alone", ("nested", "cross_entropy")),
    Claim("A budget that was trained, or one that lies between two", ("nested", "two_budgets"), budgets=("0.75",)),
    Claim("Ranked by importance, at random, or the wrong way round", ("nested", "random_order", "reversed_order")),
    Claim("Mean and L2 norm, or the paper's plain sums", ("nested", "paper_importance")),
    Claim("Layers dropped by the error of logits, by cosine, or from the end",
          ("nested", "depth_cosine", "depth_last_layers"), budgets=("0.75", "0.5")),
)
