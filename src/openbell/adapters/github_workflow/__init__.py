"""GitHub Actions: workflows of `openbell.core.workflow` as files, with what that language needs and must not say.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""
