"""The subcommands, one module each with a ``run(args)``; imported only when asked for."""
