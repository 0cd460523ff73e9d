"""The commands of the command line, one module each.

A command module has ``NAME``, ``SUMMARY``, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(arguments) -> exit status``. Nothing but the standard library is imported before ``run``,
so that ``--help`` is quick.
"""
