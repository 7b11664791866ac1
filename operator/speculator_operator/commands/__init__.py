"""The commands of ``speculator-operator``, which are ``kubectl speculator``'s too: a module for each, or for a few.

A module has ``add(commands)``, which adds the command's parser, and sets ``command`` to the function that runs it:
``argparse.Namespace`` in, exit code out. Those that ask a cluster gather first, make one document of plain values of
what they found, and show that: ``-o json`` prints the document, a person gets what ``display`` makes of it. So both say
the same, and everything between gathering and printing is pure.

``terminal`` has what all of them need to print, ``connection`` what those need that ask a cluster.
"""
