"""A whole stack on this machine, behind the extra `[local]`: private servers, ports, supervised processes.

An image that runs one process per container installs without it: no other part of the product imports this one.

up  the commands         stack  one stack           servers, postgres, rabbitmq, apt  what it provisions
programs  what runs      supervision, launch, watchdog  how it keeps running
health  when it is up    ports, environment, progress  where it listens, what it is told, what it says
"""
